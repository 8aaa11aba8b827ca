"""A rehearsal tenant with its own directory, Graph, tokens and sign-in; it shares no code with the endpoint."""
