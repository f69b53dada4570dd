"""Makes talking faces: text -> voice and phoneme times -> mouth curves -> pictures -> one clip -> files of a layout.

Everything that comes out of here is synthetic and must be called so wherever a number made from it appears.
"""
