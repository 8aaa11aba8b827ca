"""Microsoft Graph as the rehearsal tenant serves it: rules and routes of each subject in one file."""
