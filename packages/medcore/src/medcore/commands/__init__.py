"""The commands of ``medcore``, one module for each group; heavy libraries are imported inside the commands."""
