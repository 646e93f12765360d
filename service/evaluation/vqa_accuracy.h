// How well questions about pictures are answered: the accuracy of the VQA challenge, and exact match.
//
// Thread safety: functions may be called from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace blazon::service {

// A question's answer by the model, and those by people.
struct AnswerPair {
  std::string id;  // for messages
  std::string answer;
  std::vector<std::string> references;  // at least one
};

struct VqaScores {
  int64_t questions = 0;
  double exact = 0;  // share whose answer is one of its references, both normalised
  // Mean of VqaAccuracy over the questions that have ten references, as the measure wants; `ten` of them.
  double accuracy = 0;
  int64_t ten = 0;
};

// An answer as the evaluation tools of the VQA challenge compare it (vqaEval.py of GT-Vision-Lab/VQA): punctuation,
// "a", "an" and "the" left out, small letters, numbers to ten as digits. That tool also puts apostrophes into "dont"
// and its like, which this does not.
std::string NormalizedAnswer(std::string_view answer);

// Antol et al. 2015 (arXiv 1505.00468), section 5: an answer is right when three people gave it. The mean, over all
// sets of references without one, of min(1, references that are equal to the answer / 3), as that tool computes it: the
// references lose their punctuation where they differ from one another, and are else compared as they stand.
double VqaAccuracy(std::string_view answer, absl::Span<const std::string> references);

// kInvalidArgument: no pairs, or one without a reference.
absl::StatusOr<VqaScores> ScoreAnswers(absl::Span<const AnswerPair> pairs);

// Joins answers and references by the question's id, in the answers' order. Answers: JSON Lines, or a list (VQA
// results), of objects with "question_id" or "id", and "answer" or "text". References: JSON Lines of objects with the
// same ids and "answer" or several "answers"; or VQA annotations ("annotations" with "question_id" and "answers", each
// an object with "answer"). kNotFound: a file is missing; kInvalidArgument: a file is no such thing, an id stands
// twice, or an answer has no references; the message names file and line or the question.
absl::StatusOr<std::vector<AnswerPair>> ReadAnswerPairs(const std::filesystem::path& answers,
                                                        const std::filesystem::path& references);

}  // namespace blazon::service
