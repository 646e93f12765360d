#include "service/training/ngram_overlap.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace blazon::service {
namespace {

constexpr double kTaintedShare = 0.7;

// FNV-1a, 64 bits: a false match among millions of runs is unlikely enough for a report.
uint64_t Digest(std::string_view bytes, uint64_t start) {
  uint64_t digest = start;
  for (const char c : bytes) digest = (digest ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return digest;
}

std::string Lower(std::string_view text) { return absl::AsciiStrToLower({text.data(), text.size()}); }

std::vector<uint64_t> WordDigests(std::string_view text) {
  const auto is_end = [](char c) { return absl::ascii_ispunct(static_cast<unsigned char>(c)); };
  std::vector<uint64_t> words;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    while (end < text.size() && !absl::ascii_isspace(static_cast<unsigned char>(text[end]))) ++end;
    size_t first = begin, last = end;
    while (first < last && is_end(text[first])) ++first;
    while (first < last && is_end(text[last - 1])) --last;
    if (first < last) words.push_back(Digest(Lower(text.substr(first, last - first)), 14695981039346656037u));
    begin = end + 1;
  }
  return words;
}

// Each run of n words, or the one of all of them.
std::vector<uint64_t> Runs(std::string_view text, int64_t n) {
  const std::vector<uint64_t> words = WordDigests(text);
  std::vector<uint64_t> runs;
  if (words.empty()) return runs;
  const size_t length = std::min(static_cast<size_t>(n), words.size());
  for (size_t begin = 0; begin + length <= words.size(); ++begin) {
    uint64_t run = length;
    for (size_t i = begin; i < begin + length; ++i)
      run = Digest({reinterpret_cast<const char*>(&words[i]), sizeof(uint64_t)}, run);
    runs.push_back(run);
  }
  return runs;
}

}  // namespace

void NgramOverlap::AddHeldOut(std::string_view text) {
  std::vector<uint64_t> runs = Runs(text, n_);
  if (runs.empty()) return;
  for (const uint64_t run : runs) shared_.emplace(run, false);
  held_out_.push_back(std::move(runs));
}

void NgramOverlap::AddTraining(std::string_view text) {
  for (const uint64_t run : Runs(text, n_)) {
    if (const auto found = shared_.find(run); found != shared_.end()) found->second = true;
  }
}

OverlapReport NgramOverlap::Report() const {
  OverlapReport report{.n = n_, .texts = static_cast<int64_t>(held_out_.size())};
  for (const std::vector<uint64_t>& runs : held_out_) {
    const auto shared = std::count_if(runs.begin(), runs.end(), [&](uint64_t run) { return shared_.at(run); });
    report.grams += static_cast<int64_t>(runs.size());
    report.shared += shared;
    if (static_cast<double>(shared) >= kTaintedShare * static_cast<double>(runs.size())) ++report.tainted;
  }
  return report;
}

std::string DescribeOverlap(const OverlapReport& report) {
  const double share =
      report.grams > 0 ? 100.0 * static_cast<double>(report.shared) / static_cast<double>(report.grams) : 0;
  return absl::StrFormat(
      "overlap: %d of the held-out texts' %d runs of %d words (%.1f %%) stand in the training texts too; in %d of %d "
      "texts "
      "at least 70 %% do",
      report.shared, report.grams, report.n, share, report.tainted, report.texts);
}

}  // namespace blazon::service
