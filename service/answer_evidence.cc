#include "service/answer_evidence.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "retrieval/words.h"

namespace blazon::service {
namespace {

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
  size_t unknown = 0;
  for (const std::string& word : words) {
    const bool in_evidence = contains(told, word), in_question = contains(asked, word);
    unknown += !in_evidence && !in_question;
    adds |= in_evidence && !in_question;
  }
  return adds && (unknown == 0 || 5 * unknown < words.size());
}

}  // namespace blazon::service
