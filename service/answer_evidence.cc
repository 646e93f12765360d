#include "service/answer_evidence.h"

#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "retrieval/words.h"

namespace blazon::service {

std::vector<std::string_view> NumbersIn(std::string_view text) {
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

bool HasNegation(std::string_view text) {
  static const auto* negations =
      new absl::flat_hash_set<std::string_view>{"cannot", "except", "neither", "never", "no",     "nobody", "none",
                                                "nor",    "not",    "nothing", "t",     "unless", "without"};
  return absl::c_any_of(retrieval::Words(text), [](const std::string& word) { return negations->contains(word); });
}

bool IsGrounded(std::string_view answer, std::string_view evidence, std::string_view question) {
  const std::vector<std::string> told = retrieval::Words(evidence), asked = retrieval::Words(question);
  if (HasNegation(evidence) && !HasNegation(answer)) return false;
  const std::vector<std::string_view> told_numbers = NumbersIn(evidence);
  for (const std::string_view number : NumbersIn(answer)) {
    if (!absl::c_linear_search(told_numbers, number)) return false;
  }
  bool adds = false;
  for (const std::string& word : retrieval::ContentWords(answer)) {
    if (!absl::c_linear_search(told, word)) return false;
    adds |= !absl::c_linear_search(asked, word);
  }
  return adds;
}

}  // namespace blazon::service
