// Trains Blazon's captioner: the connector, the tagger's added rows and the language model's low-rank adapter.
//
// What is drawn comes from cut-outs (assets/captioner/pictures.tsv), what is told comes with them; see
// captioner_trainer.h for the stages. The same options give the same scenes and samples; the weights differ in the last
// bits from machine to machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace blazon::service {

struct TrainCaptionerOptions {
  std::filesystem::path language_model;  // the GGUF file
  std::filesystem::path image_encoder;   // the folder
  std::filesystem::path output;          // captioner.safetensors; written at the end, at every evaluation and on a stop

  std::filesystem::path pictures = "assets/captioner/pictures.tsv";  // the table of cut-outs
  // Library of the table -> its folder; libraries without one are left out. Debian's tuxpaint-stamps-default is the
  // first.
  std::map<std::string, std::filesystem::path> libraries = {{"stamps", "/usr/share/tuxpaint/stamps"}};
  std::vector<std::filesystem::path> held_out;  // tables whose first field names stamps never to be used
  std::filesystem::path photos;                 // pictures for backgrounds, and to keep the tagger quiet; empty: none
  std::vector<std::string> captioned;           // sources of captions and of questions: see ReadPictureTexts
  double captioned_share = 0.15;                // of the caption stage's samples, where there are sources; 0 to 1

  int64_t scenes = 16000;       // composed and encoded once
  int64_t tagger_scenes = 0;    // more of them, mildly varied, for the tagger that is kept
  int64_t crops = 1200;         // of the photos
  int64_t edited = 6000;        // features moved to a class of the encoder's
  std::filesystem::path cache;  // keeps the scenes' features for another run; empty: nothing is kept
  double count_share = 0.16;    // weight of scenes of two to five of a thing, beside 0.87 of the others
  double shape_share = 0.1;     // the chance that an object is a drawn shape
  int64_t tagger_steps = 2500;  // with start_from, 0 keeps its tagger
  int64_t alignment_steps = 1200;
  int64_t steps = 1500;  // of the caption stage
  int64_t batch = 8;
  int64_t questions = 3;         // asked of each composed picture of the caption stage, beside its caption
  double connector_rate = 3e-4;  // peak learning rates of the caption stage
  double adapter_rate = 5e-4;
  double weight_decay = 0.01;
  int64_t hidden = 640;  // width within the connector
  int64_t rank = 16;     // of the adapter, on the query, key, value and output projections
  uint64_t seed = 1;
  int64_t evaluate_every = 250;  // steps; prints some captions and saves
  // Weights to go on from: stages 1 and 2 are skipped; with `steps` 0 only the tagger is trained anew. Empty: none.
  std::filesystem::path start_from;

  std::string command;                          // noted in the weights
  std::function<void(const std::string&)> log;  // progress lines; unset: stderr
  std::function<bool()> stop;                   // asked often; true ends training early and keeps what there is
};

// OK: the weights are in options.output, also after an early stop in the caption stage.
// kInvalidArgument: an option out of range, or a language model other than Llama's kind; kNotFound: a file is missing;
// kCancelled: stopped before there was anything to keep; kOutOfRange: the loss is not finite.
absl::Status TrainCaptioner(const TrainCaptionerOptions& options);

}  // namespace blazon::service
