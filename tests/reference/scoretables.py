"""A slow and obvious twin of the coder of scores under tables: its classes, tokens and raw bits."""


def tokens_of(scores, deviations):
    """Give (classes, tokens), rows like the scores, and all raw bits as a string, the first first."""
    powers = [round(65536 * 2 ** (i / 16)) for i in range(16)]
    activity = [819] * len(scores[0])
    classes, tokens, raw = [], [], ""
    for row, x in zip(scores, deviations, strict=True):
        for i, score in enumerate(row):
            v, a = abs(score), activity[i]
            t = len(f"{a:b}") - 1
            log = 16 * t + (a * 16 // 2**t) % 16
            classes.append(min(31, max(0, (x + log - 80) // 8)))
            digits = f"{v:b}"
            low = digits[3:]
            tokens.append(v if v < 4 else 4 * len(low) + int(digits[:3], 2))
            if v:
                raw += ("1" if score < 0 else "0") + (low[::-1] if v >= 4 else "")
            octaves, part = divmod(-x, 16)
            u = min(16384, v * powers[part] * 2 ** (octaves + 20) // 2**26)
            activity[i] = max(1, a + (u - a) // 32)
    return classes, tokens, raw
