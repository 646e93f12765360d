// The questions that measure answers: tests/reference/questions.tsv and dev_questions.tsv.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "service/answerer.h"

namespace blazon::service {

struct MeasuredQuestion {
  std::string id, question, document, evidence;
  std::vector<std::string> expected;  // any of them; empty: the documents have no answer
};

std::vector<MeasuredQuestion> ReadQuestions(const std::filesystem::path& file);

// At most 25 words, and one of the expected strings in it, without regard to case.
bool IsRight(const MeasuredQuestion& question, const std::string& answer);

// The first source is of the right document and contains the evidence, with every run of white space as one space.
bool CitesRight(const MeasuredQuestion& question, const AnswerResult& result);

}  // namespace blazon::service
