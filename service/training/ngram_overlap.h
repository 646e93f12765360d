// How much of the held-out texts stands in the training texts word for word: runs of n words that both have
// (n-grams; Brown et al. 2020, arXiv 2005.14165, appendix C; n = 8 as Chowdhery et al. 2022, arXiv 2204.02311, section
// 8).
//
// A word is what stands between white space, in lower case, without punctuation at its ends. A text of fewer than n
// words is one run of all its words. First all held-out texts, then all training texts: memory is that of the held-out
// runs. Thread safety: none.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace blazon::service {

struct OverlapReport {
  int64_t n = 0;
  int64_t grams = 0;    // runs of the held-out texts, counted as often as they come
  int64_t shared = 0;   // of these: that some training text has
  int64_t texts = 0;    // held out, with at least one word
  int64_t tainted = 0;  // of these: texts of whose runs 70 % or more are shared
};

class NgramOverlap {
 public:
  explicit NgramOverlap(int64_t n = 8) : n_(n) {}  // n: at least 1

  void AddHeldOut(std::string_view text);
  void AddTraining(std::string_view text);
  OverlapReport Report() const;

 private:
  const int64_t n_;
  std::unordered_map<uint64_t, bool> shared_;    // of each held-out run's digest: whether a training text has it
  std::vector<std::vector<uint64_t>> held_out_;  // the runs of each text
};

// "8-grams of words: 120 of 4,000 in the held-out texts (3.0 %) are in the training texts too; 2 of 50 texts ..."
std::string DescribeOverlap(const OverlapReport& report);

}  // namespace blazon::service
