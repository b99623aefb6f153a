"""A slow and obvious twin of CRC-32C: a division by the polynomial, bit by bit."""


def crc32c(data, start=0):
    """Go on from the CRC of the bytes before."""
    remainder = start ^ 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ 0x82F63B78 * (remainder & 1)
    return remainder ^ 0xFFFFFFFF
