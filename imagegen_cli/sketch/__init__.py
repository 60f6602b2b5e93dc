"""The embedded artist: words into a scene, a scene into SVG, SVG into a PNG. Needs no network, no key and no model.

`python -m imagegen_cli.sketch` draws one picture: an order on stdin, the picture on stdout.
"""
