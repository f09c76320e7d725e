"""What a data scientist touches: connect, Session (an Ibis backend), operators, results, explain."""
