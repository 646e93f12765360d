// How near captions come to what people wrote: BLEU, ROUGE-L, METEOR, CIDEr-D and exact match, computed as the public
// implementations do (pycocoevalcap 1.2; NLTK 3.10 for METEOR), so that figures can be compared.
//
// Thread safety: functions may be called from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace blazon::service {

using Words = std::vector<std::string>;

// A picture's caption by the model, and those by people.
struct CaptionPair {
  std::string id;  // for messages
  Words candidate;
  std::vector<Words> references;
};

struct CaptionScores {
  int64_t pictures = 0;
  int64_t empty = 0;  // candidates without a word; they count as 0
  // Of the whole set (Papineni et al. 2002): orders 1 to 4, against the reference nearest in length.
  std::array<double, 4> bleu{};
  double rouge_l = 0;  // mean over the pictures (Lin 2004), beta 1.2
  // Mean over the pictures of the best reference's (Banerjee and Lavie 2005), alpha 0.9, beta 3, gamma 0.5. Words match
  // when they or their Snowball English stems are equal; synonyms, for which the original asks WordNet, do not.
  double meteor = 0;
  // Mean over the pictures (Vedantam et al. 2015, arXiv 1411.5726), sigma 6, times 10. The weights of the n-grams are
  // this set's: figures of sets of other sizes cannot be compared, and of one picture it is 0.
  double cider_d = 0;
  double exact = 0;  // share of candidates that are one of their references, word for word
};

// Lower-cased words without punctuation, by Unicode's word boundaries (UAX 29); "don't" stays one. The Java tokenizer
// that the COCO tools run before all else gives the same for plain captions, but splits at apostrophes.
// kInvalidArgument: `text` is not UTF-8.
absl::StatusOr<Words> CaptionWords(std::string_view text);

// kInvalidArgument: no pairs, or a picture without references; the message names it.
absl::StatusOr<CaptionScores> ScoreCaptions(absl::Span<const CaptionPair> pairs);

}  // namespace blazon::service
