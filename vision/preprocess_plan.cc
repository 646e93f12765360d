#include "vision/preprocess_plan.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace blazon::vision {
namespace {

constexpr int64_t kMaxSide = 1 << 16;            // of a size, an edge or a tile in a config
constexpr int64_t kLongestEdgeOfIdefics = 4096;  // MAX_IMAGE_SIZE of its processor

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t Floor(double x) { return static_cast<int64_t>(std::floor(x)); }
int64_t Truncate(double x) { return static_cast<int64_t>(x); }

// image_transforms.get_resize_output_image_size
Size ShortestEdge(Size from, int64_t edge) {
  const auto longer = [edge](int64_t a, int64_t b) {
    return Truncate(static_cast<double>(edge * std::max(a, b)) / std::min(a, b));
  };
  return from.width <= from.height ? Size{edge, longer(from.width, from.height)}
                                   : Size{longer(from.width, from.height), edge};
}

// image_transforms.get_size_with_aspect_ratio
Size BoundedEdge(Size from, int64_t edge, int64_t longest) {
  const double shorter = std::min(from.width, from.height), longer = std::max(from.width, from.height);
  double exact = edge;
  if (longer / shorter * edge > longest) {
    exact = longest * shorter / longer;
    edge = static_cast<int64_t>(std::nearbyint(exact));
  }
  if (std::min(from.width, from.height) == edge) return from;
  return from.width < from.height ? Size{edge, Truncate(exact * from.height / from.width)}
                                  : Size{Truncate(exact * from.width / from.height), edge};
}

// image_utils.get_image_size_for_max_height_width
Size Within(Size from, Size bound) {
  const double scale =
      std::min(static_cast<double>(bound.height) / from.height, static_cast<double>(bound.width) / from.width);
  return {Truncate(from.width * scale), Truncate(from.height * scale)};
}

// image_processing_idefics3.get_resize_output_image_size
Size LongestEdge(Size from, int64_t edge) {
  const auto even = [](int64_t side) { return std::max<int64_t>(1, side + side % 2); };
  double aspect = static_cast<double>(from.width) / from.height;
  Size to =
      from.width >= from.height ? Size{edge, even(Truncate(edge / aspect))} : Size{even(Truncate(edge * aspect)), edge};
  aspect = static_cast<double>(to.width) / to.height;
  if (to.width >= to.height && to.width > kLongestEdgeOfIdefics) {
    to = {kLongestEdgeOfIdefics, Truncate(kLongestEdgeOfIdefics / aspect)};
  } else if (to.height > to.width && to.height > kLongestEdgeOfIdefics) {
    to = {Truncate(kLongestEdgeOfIdefics * aspect), kLongestEdgeOfIdefics};
  }
  return {std::max<int64_t>(1, to.width), std::max<int64_t>(1, to.height)};
}

// image_processing_idefics3.resize_for_vision_encoder
Size TilesOfIdefics(Size from, int64_t side) {
  const double aspect = static_cast<double>(from.width) / from.height;
  const auto up = [side](int64_t length) { return CeilDivide(length, side) * side; };
  if (from.width >= from.height) {
    const int64_t width = up(from.width);
    return {width, up(Truncate(width / aspect))};
  }
  const int64_t height = up(from.height);
  return {up(Truncate(height * aspect)), height};
}

// nanoVLM's DynamicResize
Size TileMultiple(Size from, int64_t side, int64_t edge, bool always) {
  const int64_t from_longer = std::max(from.width, from.height);
  const int64_t longer = always ? edge : std::min(edge, CeilDivide(from_longer, side) * side);
  const double scale = static_cast<double>(longer) / from_longer;
  const int64_t shorter =
      std::max(side, static_cast<int64_t>(std::ceil(std::min(from.width, from.height) * scale / side)) * side);
  return from.width >= from.height ? Size{longer, shorter} : Size{shorter, longer};
}

Size Resized(const PreprocessorConfig& config, Size from) {
  switch (config.size_rule) {
    case SizeRule::kKeep:
      return from;
    case SizeRule::kExact:
      return config.size;
    case SizeRule::kShortestEdge:
      return ShortestEdge(from, config.edge);
    case SizeRule::kBoundedEdge:
      return BoundedEdge(from, config.edge, config.longest_edge);
    case SizeRule::kWithin:
      return Within(from, config.size);
    case SizeRule::kLongestEdge:
      return LongestEdge(from, config.edge);
    case SizeRule::kTileMultiple:
      return TileMultiple(from, config.tile_side, config.edge, false);
    case SizeRule::kTileMultipleUp:
      return TileMultiple(from, config.tile_side, config.edge, true);
  }
  return from;
}

// Gemma 3's pan and scan (image_processing_gemma3.pan_and_scan_batched): the number of parts along the longer side, or
// 0.
int64_t CropsOf(const PreprocessorConfig& config, int64_t longer, int64_t shorter) {
  const double ratio = static_cast<double>(longer) / shorter;
  if (ratio < config.min_ratio) return 0;
  int64_t crops = std::min(longer / config.min_crop_size, Floor(ratio + 0.5));
  crops = std::min(config.max_crops, std::max<int64_t>(2, crops));
  return std::min(CeilDivide(longer, crops), shorter) < config.min_crop_size ? 0 : crops;
}

absl::Status PlanPanAndScan(const PreprocessorConfig& config, PreprocessPlan& plan) {
  const bool wide = plan.source.width >= plan.source.height;
  const int64_t longer = wide ? plan.source.width : plan.source.height;
  const int64_t shorter = wide ? plan.source.height : plan.source.width;
  const int64_t crops = CropsOf(config, longer, shorter);
  if (crops == 0) return absl::OkStatus();
  const int64_t length = CeilDivide(longer, crops);
  if (length * (crops - 1) >= longer) {
    return absl::InvalidArgumentError(absl::StrCat("A picture of ", plan.source.width, " x ", plan.source.height,
                                                   " pixels does not fill the ", crops,
                                                   " parts of pan and scan. Lower pan_and_scan_max_num_crops."));
  }
  for (int64_t i = 0; i < crops; ++i) {
    const int64_t begin = i * length, extent = std::min(length, longer - begin);
    plan.parts.push_back(wide ? Rectangle{begin, 0, extent, shorter} : Rectangle{0, begin, shorter, extent});
  }
  plan.rows = wide ? 1 : crops;
  plan.columns = wide ? crops : 1;
  plan.tiles = 1 + crops;
  return absl::OkStatus();
}

absl::Status CheckPixels(const PreprocessorConfig& config, Size picture, const char* what, Size size, int64_t count) {
  if (size.width < 1 || size.height < 1) {
    return absl::InvalidArgumentError(absl::StrCat("A picture of ", picture.width, " x ", picture.height,
                                                   " pixels would become ", size.width, " x ", size.height,
                                                   ": it is too long for its size rule. Cut it."));
  }
  // Sides are below 2^48, so their product may overflow; the quotient cannot.
  if (size.width > config.max_pixels / size.height / count) {
    return absl::InvalidArgumentError(absl::StrCat("A picture of ", picture.width, " x ", picture.height,
                                                   " pixels needs ", what, " of ", size.width, " x ", size.height,
                                                   count > 1 ? absl::StrCat(", ", count, " times") : "",
                                                   "; the limit is ", config.max_pixels, " pixels. Cut it."));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPreprocessorConfig(const PreprocessorConfig& config) {
  const auto side = [](int64_t value) { return value >= 1 && value <= kMaxSide; };
  const auto require = [](bool good, absl::string_view message) {
    return good ? absl::OkStatus() : absl::InvalidArgumentError(message);
  };
  const SizeRule rule = config.size_rule;
  const bool multiple = rule == SizeRule::kTileMultiple || rule == SizeRule::kTileMultipleUp;
  const bool edge = rule == SizeRule::kShortestEdge || rule == SizeRule::kBoundedEdge || rule == SizeRule::kLongestEdge;
  const bool size = rule == SizeRule::kExact || rule == SizeRule::kWithin;
  const bool grid = config.split == SplitRule::kTiles || config.split == SplitRule::kWholeThenTiles;
  const bool tiles = grid || config.split == SplitRule::kTilesThenWhole || config.split == SplitRule::kOneTile;
  bool numbers = std::isfinite(config.rescale_factor) && config.rescale_factor > 0;
  for (int i = 0; i < 3; ++i) {
    numbers = numbers && std::isfinite(config.mean[i]) && std::isfinite(config.std[i]) && config.std[i] > 0;
  }
  const bool colour = std::all_of(config.mean.begin(), config.mean.end(), [](double x) { return x >= 0 && x <= 1; });
  const std::string range = absl::StrCat(" must be 1 to ", kMaxSide);
  for (const absl::Status& status : {
           require(config.center_share >= 0 && config.center_share <= 1, "center_share must be 0 to 1"),
           require(!size || (side(config.size.width) && side(config.size.height)), absl::StrCat("size", range)),
           require(!(edge || multiple) || side(config.edge), absl::StrCat("the edge of size", range)),
           require(rule != SizeRule::kBoundedEdge || side(config.longest_edge), absl::StrCat("longest_edge", range)),
           require(!config.center_crop || (side(config.center_crop->width) && side(config.center_crop->height)),
                   absl::StrCat("crop_size", range)),
           require(!config.center_crop || config.split == SplitRule::kNone,
                   "a centre crop and a split into tiles exclude each other"),
           require(!(tiles || multiple) || side(config.tile_side), absl::StrCat("the tile side", range)),
           require(grid == multiple, "a size of whole tiles and a split into them need each other"),
           require(!multiple || config.edge % std::max<int64_t>(1, config.tile_side) == 0,
                   "the longest edge must be a multiple of the tile side"),
           require(config.split != SplitRule::kPanAndScan ||
                       (rule == SizeRule::kExact && side(config.min_crop_size) && config.max_crops >= 2 &&
                        config.max_crops <= kMaxSide && config.min_ratio > 0 && !config.pad_to_square),
                   "pan and scan needs a fixed size, no frame, a smallest part of at least 1, at least 2 parts and a "
                   "ratio above 0"),
           require(!config.pad_to_square || colour, "a frame needs an image_mean from 0 to 1"),
           require(numbers, "rescale_factor and each number of image_std must be above 0, and image_mean finite"),
           require(config.max_tiles >= 1 && config.max_pixels >= 1, "the limits must be at least 1"),
       }) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<PreprocessPlan> PlanPreprocessing(const PreprocessorConfig& config, Size picture) {
  if (picture.width < 1 || picture.height < 1) return absl::InvalidArgumentError("The picture has no pixels.");
  PreprocessPlan plan;
  plan.source = {0, 0, picture.width, picture.height};
  if (config.center_share > 0) {
    const int64_t side =
        std::max<int64_t>(1, std::lround(config.center_share * std::min(picture.width, picture.height)));
    plan.source = {(picture.width - side) / 2, (picture.height - side) / 2, side, side};
  }
  plan.padded = {plan.source.width, plan.source.height};
  if (config.pad_to_square) plan.padded.width = plan.padded.height = std::max(plan.padded.width, plan.padded.height);
  plan.resized = plan.tiled = Resized(config, plan.padded);
  plan.tile = config.center_crop.value_or(plan.resized);
  // What is cut off by the centre crop is never computed.
  const Size made = {std::min(plan.tile.width, plan.resized.width), std::min(plan.tile.height, plan.resized.height)};
  for (const absl::Status& status : {CheckPixels(config, picture, "a frame", plan.padded, 1),
                                     CheckPixels(config, picture, "a resized picture", made, 1)}) {
    if (!status.ok()) return status;
  }
  const Size square = {config.tile_side, config.tile_side};
  switch (config.split) {
    case SplitRule::kNone:
      break;
    case SplitRule::kOneTile:
      plan.tile = plan.tiled = square;
      break;
    case SplitRule::kPanAndScan:
      if (absl::Status status = PlanPanAndScan(config, plan); !status.ok()) return status;
      break;
    case SplitRule::kTilesThenWhole:
      plan.tiled = TilesOfIdefics(plan.resized, config.tile_side);
      [[fallthrough]];
    case SplitRule::kTiles:
    case SplitRule::kWholeThenTiles:
      plan.tile = square;
      if (plan.tiled == square) break;
      plan.rows = plan.tiled.height / config.tile_side;
      plan.columns = plan.tiled.width / config.tile_side;
      plan.tiles = plan.rows * plan.columns + (config.split == SplitRule::kTiles ? 0 : 1);
      if (absl::Status status = CheckPixels(config, picture, "a picture in tiles", plan.tiled, 1); !status.ok()) {
        return status;
      }
      break;
  }
  if (plan.tiles > config.max_tiles) {
    return absl::InvalidArgumentError(absl::StrCat("A picture of ", picture.width, " x ", picture.height,
                                                   " pixels needs ", plan.tiles, " tiles; the limit is ",
                                                   config.max_tiles, ". Make it smaller or cut it."));
  }
  if (absl::Status status = CheckPixels(config, picture, "tiles", plan.tile, plan.tiles); !status.ok()) return status;
  return plan;
}

}  // namespace blazon::vision
