"""The generator once more, one counter at a time, and how sure a test of chance must be."""

ALARM = 1e-6
"""A correct generator fails a test once in a million seeds; the seeds are fixed."""

MASK = 2**32 - 1


def scalar_philox(counter, key):
    """Philox-4x32-10 on Python integers."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (q >> 32) ^ b ^ k, q & MASK, (p >> 32) ^ d ^ m, p & MASK
        k, m = (k + 0x9E3779B9) & MASK, (m + 0xBB67AE85) & MASK
    return a, b, c, d
