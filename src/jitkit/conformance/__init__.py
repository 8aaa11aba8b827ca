"""The conformance suite: does an endpoint, in whatever language, do what Microsoft Entra and its customers need?"""
