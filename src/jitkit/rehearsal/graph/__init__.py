"""Microsoft Graph as the stand-in tenant serves it: one file a resource, rules and routes together."""
