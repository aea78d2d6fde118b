"""Every call to a file, a database or a server fails once, in every way, and the next run mends it.

``python -m tests.faults`` makes the first call fail, then the second, and so on until a run passes untouched, and
compares what the next run leaves with what runs that nobody disturbed leave. ``calls`` counts calls and makes one fail;
``worlds`` are the three lakehouses, kept and put back between two cases; ``cases`` is one case and what it has to show.
"""
