"""The command line: one module a command, which reads arguments, calls one function, prints."""
