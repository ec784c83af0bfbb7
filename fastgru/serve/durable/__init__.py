"""States that survive the process: `--state-dir`.

Every session has one record on disk, in a file of its model that is mapped into memory (`mapped`). A record has two
slots, which are written alternately (`slots`), so that one of them is whole whenever the process ends. `records`
manages the places of a file, and finds the valid slots after a start. Sessions and the scheduler call `keeper` before
an answer leaves. `folder` is the directory, which one process locks.
"""
