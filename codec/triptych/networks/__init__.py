"""The networks of the third panel, in torch: encoders, generators, context networks, a discriminator.

Imported only by `triptych.modes.panel` and `triptych.fit.neural`, and only where torch is installed. Here
images are float tensors (n, channels, height, width) of samples / 255, latents are (n, channels, rows,
columns), and a *level* is a float tensor (n): a place between the trained trade-offs of rate and distortion,
0 the coarsest. Nothing here decides a decoded symbol: what codes latents are the integers that
`triptych.fit.weights` makes of a context network.
"""
