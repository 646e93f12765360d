// Documents with questions, to train and measure the reader: what answers, and what only looks as if.
//
// A file holds a document a line, in JSON:
//   {"title": "Visiting Tarrow Lock Museum",
//    "sentences": ["...", ...],
//    "questions": [{"q": "What does a pensioner pay?", "s": 3, "a": "5 pounds"}, ...],
//    "none": ["When was the canal dug?", ...]}
// "s" is the index of the sentence that answers, "a" the answer in short; "none" holds questions that suit the document
// and have no answer in it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::service {

struct ReadingQuestion {
  std::string text;
  int64_t sentence = -1;  // that answers; -1: none does
  std::string answer;     // in short; empty when none does
};

struct ReadingDocument {
  std::string title;
  std::vector<std::string> sentences;
  std::vector<ReadingQuestion> questions;  // "none" included
  bool held_out = false;                   // never trained on: see IsHeldOut
};

// About 15 of 100 titles: those whose FNV-1a hash (64 bits), modulo 100, is below 15. A fixed rule, so that nobody
// chooses.
bool IsHeldOut(const std::string& title);

// The documents of `files`, in order.
// kNotFound: a file is missing. kInvalidArgument: a line is not such a document (the message has file, line number and
// what is wrong), two documents have one title, or there are no documents at all.
absl::StatusOr<std::vector<ReadingDocument>> ReadReadingSet(const std::vector<std::filesystem::path>& files);

}  // namespace blazon::service
