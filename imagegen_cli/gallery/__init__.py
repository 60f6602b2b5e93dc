"""Many pictures at once: small ones kept in a cache, one HTML page of all, and one labelled sheet that compares them.

Everything here is plain and synchronous, and takes plain values: run it in a thread.
"""
