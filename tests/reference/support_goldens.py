"""Makes tests/goldens/support.json: answers beside sentences of documents with vectors made at random, and what bears the answers out by
an implementation of its own.

    pip install nltk==3.9.1
    python3 tests/reference/support_goldens.py
"""

import json
import math
import pathlib
import random
import re

from nltk.stem.porter import PorterStemmer

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "support.json"
STEM = PorterStemmer(PorterStemmer.ORIGINAL_ALGORITHM).stem
FUNCTION_WORDS = set("""a about am an and any are as at be been being but by can could did do does doing for from had has have having he her hers him
his how i if in into is it its me my of on or our ours shall she should so some such tell than that the their theirs them then there these they this
those to us was we were what when where which while who whom whose why will with would you your yours s t d ll m re ve""".split())
NEGATIONS = set("cannot except neither never no nobody none nor not nothing t unless without".split())

# Question, then answers of one sentence each, then pieces: title, heading, sentences.
SCENES = [
    ("When does the museum close on Thursdays?",
     ["20:00", "It closes at 20:00.", "It closes at 21:00 on Thursdays.", "On Thursdays it does not stay open.", "The harbour is deep."],
     [("Harbour museum", "Opening hours", ["On Thursdays it stays open until 20:00.", "It is closed on Mondays."]),
      ("Trains", "", ["The last train leaves at 20:00.", "Dogs travel free."])]),
    ("Who made the sextant?",
     ["Carl Plath", "The sextant was made by Carl Plath of Hamburg.", "Henrik Larsen of Bergen made it.", "A maker of brass instruments."],
     [("Museum", "Collection", ["The brass sextant was made in Hamburg by Carl Plath.", "It was never sold."]),
      ("Sellers", "", ["Carl Plath sold instruments in Hamburg.", "Henrik Larsen lived in Bergen."])]),
    ("What does a ticket cost?",
     ["95 kroner", "Adults pay 95 kroner and students 60 kroner.", "It costs 18 kroner.", "Tickets are free.", "A ticket costs 95.50 kroner."],
     [("Prices", "", ["An adult ticket costs 95 kroner.", "Students pay 60 kroner.", "Children under 18 enter free."])]),
    ("Which acid is used?",
     ["oxalic acid", "Oxalic acid is dripped between the frames in December.", "No acid is used."],
     [("Bees", "Varroa > Winter", ["In December oxalic acid is trickled between the frames.", "The treatment must never be given in June."]),
      ("Bees", "Varroa > Summer", ["In August formic acid is used."])]),
]


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def stem(word):
    return STEM(word) if len(word) >= 3 else word


def stems(text):
    content = [word for word in words(text) if word not in FUNCTION_WORDS] or words(text)
    return {stem(word) for word in content}


def numbers(text):
    return re.findall(r"\d(?:\d|[.,:](?=\d))*", text)


def negates(text):
    return bool(NEGATIONS & set(words(text)))


def support(question, answer, vector, sentences):
    claims = [("#" + number, 2.0) for number in numbers(answer)]
    names = {stem(word.lower()) for word in re.findall(r"[A-Za-z0-9]+", answer)[1:] if word[0].isupper()}
    for term in sorted(stems(answer)):
        if not term.isdigit():
            claims.append((term, 0.3 if term in stems(question) else 2.0 if term in names else 1.0))
    whole = sum(weight for _, weight in claims)
    worded = any(not term.startswith("#") for term, _ in claims)
    rated = []
    for index, (title, heading, text, other, relevance) in enumerate(sentences):
        own = stems(text) | {"#" + number for number in numbers(text)}
        above = stems(title + " " + heading) if title + heading else set()
        hit = {term for term, _ in claims if term in own}
        if not hit or (worded and not any(not term.startswith("#") for term in hit)):
            told = set()
        else:
            told = hit | {term for term, _ in claims if term in above}
        share = sum(weight for term, weight in claims if term in told) / whole if whole else 0.0
        score = share
        cosine = sum(a * b for a, b in zip(vector, other))
        numbered = all(term in own for term, _ in claims if term.startswith("#"))
        if numbered:
            score = max(share, 0.5 * share + 0.5 * min(1.0, max(0.0, (cosine - 0.35) / 0.5)))
        if negates(answer) != negates(text):
            score *= 0.5 if negates(answer) else 0.9
        rated.append((score, cosine + relevance, index, told, numbered))
    rated.sort(key=lambda each: (-each[0], -each[1], each[2]))
    told, total, cited = set(), 0.0, []
    for score, _, index, terms, numbered in rated:
        if len(cited) == 3:
            break
        more = sum(weight for term, weight in claims if term in terms - told) / whole if whole else 0.0
        adds = more >= 0.3 and score >= 0.4
        if not adds and (score < 0.6 or not numbered):
            continue
        total = max(score, min(1.0, total + (more if adds else 0.0)))
        told |= terms
        cited.append((index, score))
    supported = total >= 0.6 and all(term in told for term, _ in claims if term.startswith("#"))
    return {"supported": supported, "score": total, "citations": cited if supported else []}


def unit(chance):
    vector = [chance.gauss(0.6, 1) for _ in range(4)]
    length = math.sqrt(sum(x * x for x in vector))
    return [round(x / length, 6) for x in vector]


def main():
    chance = random.Random(11)
    cases = []
    for question, answers, pieces in SCENES:
        for answer in answers * 3:
            vector = unit(chance)
            sentences = [(title, heading, text, unit(chance), round(chance.random(), 6))
                         for title, heading, texts in pieces for text in texts]
            cases.append({"question": question, "answer": answer, "vector": vector,
                          "pieces": [{"title": title, "heading": heading, "sentences": texts} for title, heading, texts in pieces],
                          "vectors": [each[3] for each in sentences], "relevance": [each[4] for each in sentences],
                          "expected": support(question, answer, vector, sentences)})
    GOLDENS.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    print(len(cases), sum(case["expected"]["supported"] for case in cases), max(len(case["expected"]["citations"]) for case in cases))


if __name__ == "__main__":
    main()
