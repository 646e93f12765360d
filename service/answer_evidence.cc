#include "service/answer_evidence.h"

#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
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
  static const auto* negations =
      new absl::flat_hash_set<std::string_view>{"cannot", "except", "neither", "never", "no",     "nobody", "none",
                                                "nor",    "not",    "nothing", "t",     "unless", "without"};
  const auto is_negation = [](const std::string& word) { return negations->contains(word); };
  const std::vector<std::string> told = retrieval::Words(evidence), asked = retrieval::Words(question);
  if (absl::c_any_of(told, is_negation) && absl::c_none_of(retrieval::Words(answer), is_negation)) return false;
  const std::vector<std::string_view> told_numbers = Numbers(evidence);
  for (const std::string_view number : Numbers(answer)) {
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
