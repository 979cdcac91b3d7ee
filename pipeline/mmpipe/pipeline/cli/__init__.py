"""The command line: `mmpipe COMMAND`, one file a command."""
