"""The engines behind the notebooks: endpoint, rehearsal tenant, conformance suite and progress report."""
