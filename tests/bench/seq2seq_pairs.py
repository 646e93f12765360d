#!/usr/bin/env python3
"""Makes pairs for 'blazon train seq2seq': dates in many spellings and their ISO form, numbers and their words.

    python3 tests/bench/seq2seq_pairs.py FOLDER [--count 40000] [--held-out 1000] [--seed 1]

Writes FOLDER/train.tsv and FOLDER/held_out.tsv. No source stands twice, and none in both files.
"""

import argparse
import datetime
import random
from pathlib import Path

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def words(number):
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + ("-" + ONES[number % 10] if number % 10 else "")
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            return words(number // size) + " " + name + (" " + words(number % size) if number % size else "")
    raise AssertionError


def ordinal(number):
    return f"{number}{'th' if 10 <= number % 100 <= 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def date_pair(draw):
    day = datetime.date(1900, 1, 1) + datetime.timedelta(draw.randrange(73000))
    month, short, weekday = day.strftime("%B"), day.strftime("%b"), day.strftime("%A")
    source = draw.choice([
        f"{month} {day.day}, {day.year}", f"{day.day} {month} {day.year}", f"the {ordinal(day.day)} of {month} {day.year}",
        f"{short} {day.day} {day.year}", f"{weekday}, {day.day} {short} {day.year}", f"{weekday}, {month} {ordinal(day.day)}, {day.year}",
        f"{day.day}.{day.month}.{day.year}", f"{day.year}/{day.month:02}/{day.day:02}", f"{day.day}-{short.lower()}-{day.year}",
        f"{month.upper()} {day.day} {day.year}", f"{day.year}, {month} {ordinal(day.day)}",
    ])
    return source, day.isoformat()


def number_pair(draw):
    number = draw.randrange(10 ** draw.randint(1, 6))
    return (f"{number:,}" if draw.random() < 0.5 else str(number)), words(number)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=40000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    pairs = {}
    while len(pairs) < args.count + args.held_out:
        source, target = (date_pair if draw.random() < 0.5 else number_pair)(draw)
        pairs[source] = target
    lines = [f"{source}\t{target}\n" for source, target in pairs.items()]
    draw.shuffle(lines)
    args.folder.mkdir(parents=True, exist_ok=True)
    (args.folder / "held_out.tsv").write_text("".join(lines[: args.held_out]))
    (args.folder / "train.tsv").write_text("".join(lines[args.held_out :]))


if __name__ == "__main__":
    main()
