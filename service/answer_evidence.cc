#include "service/answer_evidence.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/ascii.h"
#include "retrieval/words.h"

namespace blazon::service {
namespace {

// Single words of all-MiniLM-L6-v2 that have nothing to do with each other have cosines of up to about 0.3, synonyms of
// 0.6 to 0.8.
constexpr double kUnrelated = 0.3;
constexpr double kSame = 0.8;
constexpr size_t kMaxWords = 64;  // of one side: bounds what a very long sentence costs

std::vector<std::string> SomeContentWords(std::string_view text) {
  std::vector<std::string> words = retrieval::ContentWords(text);
  if (words.size() > kMaxWords) words.resize(kMaxWords);
  return words;
}

// Runs of digits with '.', ',' and ':' inside: "3,800", "10:00", "9.4".
std::vector<std::string_view> Numbers(std::string_view text) {
  std::vector<std::string_view> numbers;
  for (size_t begin = 0; begin < text.size();) {
    if (!absl::ascii_isdigit(text[begin])) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < text.size() &&
           (absl::ascii_isdigit(text[end]) || (std::string_view(".,:").find(text[end]) != std::string_view::npos &&
                                               end + 1 < text.size() && absl::ascii_isdigit(text[end + 1])))) {
      ++end;
    }
    numbers.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return numbers;
}

}  // namespace

absl::StatusOr<double> WordCoverage(std::string_view question, std::string_view evidence,
                                    const retrieval::Embedder& embedder) {
  const std::vector<std::string> asked = SomeContentWords(question);
  const std::vector<std::string> told = SomeContentWords(evidence);
  if (asked.empty() || told.empty()) return 0.0;
  std::vector<std::string> words = asked;
  words.insert(words.end(), told.begin(), told.end());
  absl::StatusOr<std::vector<float>> vectors = embedder.embed(words);
  if (!vectors.ok()) return vectors.status();
  const auto vector = [&](size_t word) { return vectors->data() + word * embedder.dimension; };
  double covered = 0;
  for (size_t i = 0; i < asked.size(); ++i) {
    double best = 0;
    for (size_t j = asked.size(); j < words.size(); ++j) {
      best = std::max<double>(best, std::inner_product(vector(i), vector(i) + embedder.dimension, vector(j), 0.0f));
    }
    covered += std::clamp((best - kUnrelated) / (kSame - kUnrelated), 0.0, 1.0);
  }
  return covered / static_cast<double>(asked.size());
}

bool IsGrounded(std::string_view answer, std::string_view evidence, std::string_view question) {
  const std::vector<std::string_view> stated = Numbers(answer), told_numbers = Numbers(evidence),
                                      asked_numbers = Numbers(question);
  const std::vector<std::string> words = retrieval::ContentWords(answer), told = retrieval::Words(evidence),
                                 asked = retrieval::Words(question);
  const auto contains = [](const auto& list, const auto& item) {
    return std::find(list.begin(), list.end(), item) != list.end();
  };
  bool adds = false;
  for (std::string_view number : stated) {
    const bool in_evidence = contains(told_numbers, number), in_question = contains(asked_numbers, number);
    if (!in_evidence && !in_question) return false;
    adds |= in_evidence && !in_question;
  }
  size_t known = 0;
  for (const std::string& word : words) {
    const bool in_evidence = contains(told, word), in_question = contains(asked, word);
    known += in_evidence || in_question;
    adds |= in_evidence && !in_question;
  }
  return adds && 2 * known >= words.size();
}

}  // namespace blazon::service
