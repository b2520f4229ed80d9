"""Results -> HTML, JSON, tables and figures; the record that rebuilds them; verify."""
