// What happens to the pixels of a picture before a vision tower sees it, as numbers; and the sizes that follow for a
// picture of a given size.
//
// The steps, each of which may be off, in their order:
//   centre square -> pad to a square -> resize -> split into tiles, or cut the centre -> rescale -> normalise
// Rounding is that of the processors of transformers 5.17.0 and of nanoVLM, named at each rule, so that sizes are equal
// and pixels differ by at most one level.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vision/resize.h"

namespace blazon::vision {

// Width and height in pixels.
struct Size {
  int64_t width = 0, height = 0;
  bool operator==(const Size&) const = default;
};

// The size that a picture is resized to.
enum class SizeRule {
  kKeep,            // as it is
  kExact,           // `size`, whatever its shape
  kShortestEdge,    // its shorter side becomes `edge`
  kBoundedEdge,     // the same, but less where its longer side would pass `longest_edge`
  kWithin,          // the largest of its shape within `size`; smaller pictures grow
  kLongestEdge,     // its longer side becomes `edge`, but at most 4096; the shorter is made even (Idefics3, SmolVLM)
  kTileMultiple,    // both sides multiples of `tile_side`; the longer one at most `edge` (nanoVLM)
  kTileMultipleUp,  // the same, and the longer side always becomes `edge`
};

enum class SplitRule {
  kNone,
  // The whole picture, then, when it is long enough, equal parts along its longer side, each resized on its own
  // (Gemma 3's pan and scan).
  kPanAndScan,
  // Resized again to multiples of `tile_side` and cut, row by row; then the whole picture as one more tile. A picture
  // of one tile stays alone (Idefics3, SmolVLM).
  kTilesThenWhole,
  // The picture squashed to one tile (Idefics3 with do_image_splitting off).
  kOneTile,
  // For kTileMultiple: cut row by row (nanoVLM), and before that the whole picture, unless it is but one tile. The
  // whole is made by ATen's antialiased bilinear filter in floating point, so its levels are not whole numbers.
  kTiles,
  kWholeThenTiles,
};

// The members that a rule does not name are ignored by it.
struct PreprocessorConfig {
  // The centre square that is looked at, as a share of the shorter side; 0 keeps the whole picture (EfficientNet-Lite).
  double center_share = 0;
  // Frames the picture, in the middle, with the colour int(255 * mean) (LLaVA).
  bool pad_to_square = false;

  SizeRule size_rule = SizeRule::kExact;
  Size size = {224, 224};
  int64_t edge = 0;
  int64_t longest_edge = 0;
  ResizeFilter filter = ResizeFilter::kBicubic;
  ResizeArithmetic arithmetic = ResizeArithmetic::kPillow13;

  // Cuts the centre, framing with black what is smaller. Off when empty. Only with SplitRule::kNone.
  std::optional<Size> center_crop;

  SplitRule split = SplitRule::kNone;
  int64_t tile_side = 0;
  // Pan and scan: parts are at least `min_crop_size` on each side, there are 2 to `max_crops` of them, and a picture
  // whose sides' ratio is below `min_ratio` has none. The defaults are those of Gemma3Processor.
  int64_t min_crop_size = 256;
  int64_t max_crops = 4;
  double min_ratio = 1.2;

  // level * rescale_factor, then (value - mean) / std for red, green and blue.
  bool rescale = true;
  double rescale_factor = 1 / 255.0;
  bool normalize = true;
  std::array<double, 3> mean = {0.5, 0.5, 0.5};
  std::array<double, 3> std = {0.5, 0.5, 0.5};
  // Whether a mask of valid pixels is made (Idefics3's pixel_attention_mask).
  bool mask = false;

  // A picture that needs more is refused: tiles, and pixels of any picture on the way or of all tiles together.
  int64_t max_tiles = 256;
  int64_t max_pixels = int64_t{1} << 26;

  bool operator==(const PreprocessorConfig&) const = default;
};

// kInvalidArgument: a number is out of range, or two steps contradict each other; the message names them.
absl::Status CheckPreprocessorConfig(const PreprocessorConfig& config);

// The sizes of one picture's way through the steps.
struct PreprocessPlan {
  Rectangle source;              // the part of the picture that is looked at
  Size padded;                   // of `source` with its frame; its own size without one
  Size resized;                  // by the size rule
  Size tiled;                    // resized again, to be cut into tiles; `resized` where that does not happen
  std::vector<Rectangle> parts;  // of pan and scan, in `source`; row by row
  // The grid that the tiles beside the whole picture form; 0 x 0 when there is only the whole picture.
  int64_t rows = 0, columns = 0;
  int64_t tiles = 1;  // pictures in all
  Size tile;          // of each
};

// For a picture of `picture`, at least 1 x 1. `config` must have passed CheckPreprocessorConfig.
// kInvalidArgument: a side would become 0, or the picture needs more tiles or pixels than the limits; the message says
// how many and the limit.
absl::StatusOr<PreprocessPlan> PlanPreprocessing(const PreprocessorConfig& config, Size picture);

}  // namespace blazon::vision
