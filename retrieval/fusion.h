// One ranking out of two.
#pragma once

#include <cstdint>
#include <vector>

namespace blazon::retrieval {

struct Candidate {
  int64_t chunk_id = 0;
  double word_score = 0;  // BM25, 0 when no word matches
  double coverage = 0;
  double cosine = 0;
  double score = 0;  // fused
};

// score = word_weight * words + (1 - word_weight) * cosine, each min-max normalised over the candidates (BM25 from 0,
// the score of a chunk without any of the words). Bruch, Gai and Ingber 2022, arXiv 2210.11934: better than reciprocal
// ranks in and out of domain. Sorts best first; equal scores by chunk id.
void FuseWeightedSum(double word_weight, std::vector<Candidate>& candidates);

// score = 1 / (60 + rank by words) + 1 / (60 + rank by cosine), ranks from 1; a chunk without any of the words has no
// rank by words. Cormack, Clarke and Buettcher, SIGIR 2009. Sorts best first; equal scores by chunk id.
void FuseReciprocalRank(std::vector<Candidate>& candidates);

}  // namespace blazon::retrieval
