"""States that survive the process: `--state-dir`.

Of every session there is one record on disk, in a file of its model that is mapped into memory (`mapped`). A record is
two slots, which are written in turn (`slots`), so that one of them is whole whenever the process ends; `records` has
the places of a file, and finds after a start what counts. `keeper` is what sessions and the scheduler call, before an
answer leaves; `folder` is the directory, of which one process has the lock.
"""
