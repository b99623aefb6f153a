"""`python tools/faces`: pictures in, a set of faces of one size and a manifest out.

Faces are found, cut square, scaled to one size, judged, and freed of near-duplicates. The set is a stream
(`.tych`) or packs: PNG mosaics, lossless, row by row, black behind the last face. The manifest (`.tsv`) says
where each face came from. The same inputs and options give the same files, in whatever order the file system
lists them. A picture that cannot be fetched or read is named on stderr and left out.
"""
