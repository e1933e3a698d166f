"""Where benchmarks get their tasks from: hub datasets, files of rows, folders of tasks. Nothing is kept in memory that
can be read when a task starts."""
