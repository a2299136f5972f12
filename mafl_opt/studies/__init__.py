"""Studies: the experiments of both papers, run by run, with tables, pictures and readings."""
