"""The one language everything speaks: Blossom's operators beside Ibis's, wire form, lineage, rewrites."""
