#include "retrieval/fusion.h"

#include <algorithm>
#include <tuple>

namespace blazon::retrieval {
namespace {

void SortByScore(std::vector<Candidate>& candidates) {
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tuple(-a.score, a.chunk_id) < std::tuple(-b.score, b.chunk_id);
  });
}

}  // namespace

void FuseWeightedSum(double word_weight, std::vector<Candidate>& candidates) {
  if (candidates.empty()) return;
  double most_words = 0, least_cosine = candidates[0].cosine, most_cosine = candidates[0].cosine;
  for (const Candidate& candidate : candidates) {
    most_words = std::max(most_words, candidate.word_score);
    least_cosine = std::min(least_cosine, candidate.cosine);
    most_cosine = std::max(most_cosine, candidate.cosine);
  }
  for (Candidate& candidate : candidates) {
    const double words = most_words > 0 ? candidate.word_score / most_words : 0;
    const double cosine =
        most_cosine > least_cosine ? (candidate.cosine - least_cosine) / (most_cosine - least_cosine) : 1;
    candidate.score = word_weight * words + (1 - word_weight) * cosine;
  }
  SortByScore(candidates);
}

void FuseReciprocalRank(std::vector<Candidate>& candidates) {
  constexpr double kOffset = 60;
  std::vector<Candidate*> order;
  for (Candidate& candidate : candidates) {
    candidate.score = 0;
    order.push_back(&candidate);
  }
  const auto add_ranks = [&order](double Candidate::*score, bool zero_counts) {
    std::sort(order.begin(), order.end(), [score](const Candidate* a, const Candidate* b) {
      return std::tuple(-(a->*score), a->chunk_id) < std::tuple(-(b->*score), b->chunk_id);
    });
    double rank = 1;
    for (Candidate* candidate : order) {
      if (zero_counts || candidate->*score > 0) candidate->score += 1 / (kOffset + rank++);
    }
  };
  add_ranks(&Candidate::word_score, false);
  add_ranks(&Candidate::cosine, true);
  SortByScore(candidates);
}

}  // namespace blazon::retrieval
