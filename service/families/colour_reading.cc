#include "service/families/colour_reading.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"

namespace blazon::service {
namespace {

constexpr int kSide = 56;        // the picture is judged as kSide x kSide mean colours
constexpr int64_t kSamples = 8;  // along each side of a cell
constexpr int kBorder = 4;       // width of the border, in those
constexpr double kLike = 14;     // levels of a channel within which a colour is the background's
constexpr double kApart = 28;    // and beyond which it is not
// Mean square deviation within cells above which they have no plain colour: 20 levels in each channel.
constexpr double kRough = 3 * 20 * 20;

using Colour = std::array<double, 3>;

double Distance(const Colour& a, const Colour& b) {
  return std::max({std::abs(a[0] - b[0]), std::abs(a[1] - b[1]), std::abs(a[2] - b[2])});
}

size_t Nearest(const Colour& colour) {
  size_t best = 0;
  double least = 1e9;
  for (size_t i = 0; i < kNamedColours.size(); ++i) {
    const NamedColour& named = kNamedColours[i];
    const double distance = std::hypot(colour[0] - named.red, colour[1] - named.green, colour[2] - named.blue);
    if (distance < least) {
      least = distance;
      best = i;
    }
  }
  return best;
}

// The mean colour of each cell, from at most kSamples x kSamples of its pixels, and their mean square deviation, summed
// over the channels.
std::vector<Colour> MeanColours(const vision::Image& image, std::vector<double>& deviation) {
  std::vector<Colour> cells(kSide * kSide);
  deviation.resize(cells.size());
  for (int row = 0; row < kSide; ++row) {
    for (int column = 0; column < kSide; ++column) {
      const int64_t top = row * image.height / kSide, left = column * image.width / kSide;
      const int64_t bottom = std::max(top + 1, (row + 1) * image.height / kSide);
      const int64_t right = std::max(left + 1, (column + 1) * image.width / kSide);
      Colour& mean = cells[static_cast<size_t>(row * kSide + column)];
      mean.fill(0);
      double squares = 0;
      const int64_t down = (bottom - top + kSamples - 1) / kSamples, over = (right - left + kSamples - 1) / kSamples;
      int64_t count = 0;
      for (int64_t y = top; y < bottom; y += down) {
        for (int64_t x = left; x < right; x += over, ++count) {
          const uint8_t* pixel = image.pixels.data() + 3 * (y * image.width + x);
          for (size_t channel = 0; channel < 3; ++channel) {
            mean[channel] += pixel[channel];
            squares += pixel[channel] * pixel[channel];
          }
        }
      }
      squares /= static_cast<double>(count);
      for (double& value : mean) {
        value /= static_cast<double>(count);
        squares -= value * value;
      }
      deviation[static_cast<size_t>(row * kSide + column)] = squares;
    }
  }
  return cells;
}

// A colour that changes evenly over the picture: at place (x, y), both from -1 to 1, middle + x * across + y * along.
struct Plane {
  Colour middle{}, across{}, along{};

  Colour At(double x, double y) const {
    Colour colour;
    for (size_t i = 0; i < 3; ++i) colour[i] = middle[i] + x * across[i] + y * along[i];
    return colour;
  }
};

double Place(int index) { return (2.0 * index + 1) / kSide - 1; }

// Least squares over the cells `chosen`.
Plane Fit(const std::vector<Colour>& cells, const std::vector<int>& chosen) {
  double sums[3][3] = {};
  std::array<Colour, 3> right{};
  for (const int cell : chosen) {
    const double basis[3] = {1, Place(cell % kSide), Place(cell / kSide)};
    for (size_t i = 0; i < 3; ++i) {
      for (size_t j = 0; j < 3; ++j) sums[i][j] += basis[i] * basis[j];
      for (size_t channel = 0; channel < 3; ++channel)
        right[i][channel] += basis[i] * cells[static_cast<size_t>(cell)][channel];
    }
  }
  for (size_t i = 0; i < 3; ++i) sums[i][i] += 1e-6;
  for (size_t i = 0; i < 3; ++i) {  // elimination; the sums are positive definite
    for (size_t j = 0; j < 3; ++j) {
      if (j == i) continue;
      const double factor = sums[j][i] / sums[i][i];
      for (size_t k = 0; k < 3; ++k) {
        sums[j][k] -= factor * sums[i][k];
        right[j][k] -= factor * right[i][k];
      }
    }
  }
  Plane plane;
  for (size_t channel = 0; channel < 3; ++channel) {
    plane.middle[channel] = right[0][channel] / sums[0][0];
    plane.across[channel] = right[1][channel] / sums[1][1];
    plane.along[channel] = right[2][channel] / sums[2][2];
  }
  return plane;
}

// "blue", or "red and white" from where the change begins: left, top, or a left corner.
std::string Words(const Plane& plane) {
  const Colour none{};
  const double across = Distance(plane.across, none), along = Distance(plane.along, none);
  const double larger = std::max(across, along);
  double x = across >= along ? 1 : 0, y = 1 - x;
  if (std::min(across, along) > 0.4 * larger) {
    x = 1;
    y = Distance(plane.At(-1, -1), plane.At(1, 1)) >= Distance(plane.At(-1, 1), plane.At(1, -1)) ? 1 : -1;
  }
  const char* first = kNamedColours[Nearest(plane.At(-x, -y))].name;
  const char* second = kNamedColours[Nearest(plane.At(x, y))].name;
  if (larger < 20) return kNamedColours[Nearest(plane.middle)].name;
  return first == second ? std::string(first) : absl::StrCat(first, " and ", second);
}

struct ColouredPart {
  int64_t area = 0;
  double x = 0, y = 0;  // its middle
  std::array<int64_t, kNamedColours.size()> votes{};
  const char* colour() const {
    return kNamedColours[static_cast<size_t>(std::max_element(votes.begin(), votes.end()) - votes.begin())].name;
  }
};

// The areas that differ from the background, without specks.
std::vector<ColouredPart> Parts(const std::vector<Colour>& cells, const Plane& plane) {
  std::vector<char> open(cells.size());
  for (int cell = 0; cell < kSide * kSide; ++cell) {
    open[static_cast<size_t>(cell)] =
        Distance(cells[static_cast<size_t>(cell)], plane.At(Place(cell % kSide), Place(cell / kSide))) > kApart;
  }
  std::vector<ColouredPart> parts;
  std::vector<int> waiting;
  for (int start = 0; start < kSide * kSide; ++start) {
    if (!open[static_cast<size_t>(start)]) continue;
    ColouredPart part;
    waiting = {start};
    open[static_cast<size_t>(start)] = 0;
    while (!waiting.empty()) {
      const int cell = waiting.back();
      waiting.pop_back();
      const int row = cell / kSide, column = cell % kSide;
      ++part.area;
      part.x += column;
      part.y += row;
      ++part.votes[Nearest(cells[static_cast<size_t>(cell)])];
      for (int y = std::max(0, row - 1); y <= std::min(kSide - 1, row + 1); ++y) {
        for (int x = std::max(0, column - 1); x <= std::min(kSide - 1, column + 1); ++x) {
          const int next = y * kSide + x;
          if (!open[static_cast<size_t>(next)]) continue;
          open[static_cast<size_t>(next)] = 0;
          waiting.push_back(next);
        }
      }
    }
    part.x /= static_cast<double>(part.area);
    part.y /= static_cast<double>(part.area);
    parts.push_back(part);
  }
  int64_t largest = 0;
  for (const ColouredPart& part : parts) largest = std::max(largest, part.area);
  std::erase_if(parts,
                [&](const ColouredPart& part) { return part.area < kSide * kSide / 80 || part.area * 5 < largest; });
  return parts;
}

// How often, on the way around the picture, the background begins or ends; distance: of a cell to it. Stripes and
// checks do it often, things that lie over the border seldom.
template <typename DistanceOf>
int Alternations(const DistanceOf& distance) {
  std::vector<int> way;
  for (int i = 1; i < kSide - 2; ++i) way.push_back(kSide + i);
  for (int i = 1; i < kSide - 2; ++i) way.push_back(i * kSide + kSide - 2);
  for (int i = kSide - 2; i > 1; --i) way.push_back((kSide - 2) * kSide + i);
  for (int i = kSide - 2; i > 1; --i) way.push_back(i * kSide + 1);
  int count = 0, lasted = 0;
  bool now = distance(way[0]) < kLike, before = now;
  for (const int cell : way) {
    const bool like = distance(cell) < kLike;
    lasted = like == now ? lasted + 1 : 1;
    now = like;
    if (now != before && lasted == 2) {  // one cell alone may be an edge
      ++count;
      before = now;
    }
  }
  return count;
}

}  // namespace

std::string DescribeColours(const vision::Image& image) {
  std::vector<double> deviation;
  const std::vector<Colour> cells = MeanColours(image, deviation);
  std::vector<int> border;
  double change = 0;  // between neighbours along the border's rows and columns
  for (int row = 0; row < kSide; ++row) {
    for (int column = 0; column < kSide; ++column) {
      const bool edge_row = row < kBorder || row >= kSide - kBorder,
                 edge_column = column < kBorder || column >= kSide - kBorder;
      if (!edge_row && !edge_column) continue;
      const int cell = row * kSide + column;
      border.push_back(cell);
      const Colour& own = cells[static_cast<size_t>(cell)];
      if (column + 1 < kSide) change += Distance(own, cells[static_cast<size_t>(cell + 1)]);
      if (row + 1 < kSide) change += Distance(own, cells[static_cast<size_t>(cell + kSide)]);
    }
  }
  change /= 2 * static_cast<double>(border.size());

  // Least trimmed squares (Rousseeuw 1984): what lies over the border does not count.
  Plane plane = Fit(cells, border);
  const auto distance = [&](int cell) {
    return Distance(cells[static_cast<size_t>(cell)], plane.At(Place(cell % kSide), Place(cell / kSide)));
  };
  std::vector<int> kept = border;
  for (int round = 0; round < 6; ++round) {
    kept = border;
    std::vector<double> distances(cells.size());
    for (const int cell : border) distances[static_cast<size_t>(cell)] = distance(cell);
    const auto middle = kept.begin() + static_cast<int64_t>(kept.size()) * 6 / 10;
    std::nth_element(kept.begin(), middle, kept.end(), [&](int a, int b) {
      return distances[static_cast<size_t>(a)] < distances[static_cast<size_t>(b)];
    });
    kept.erase(middle, kept.end());
    plane = Fit(cells, kept);
  }
  const int64_t like = std::count_if(border.begin(), border.end(), [&](int cell) { return distance(cell) < kLike; });
  double rough = 0;
  for (const int cell : kept) rough += deviation[static_cast<size_t>(cell)] / static_cast<double>(kept.size());
  if (rough > kRough || Alternations(distance) >= 8) return "patterned background";
  if (like * 100 < static_cast<int64_t>(border.size()) * 62)
    return change > 10 ? "patterned background" : "mixed background";

  std::string text = absl::StrCat(Words(plane), " background");
  std::vector<ColouredPart> parts = Parts(cells, plane);
  if (parts.empty()) return text;
  static constexpr const char* kNumbers[] = {"", "one", "two", "three", "four", "five"};
  const char* number = parts.size() <= 5 ? kNumbers[parts.size()] : "many";
  if (parts.size() == 2) {
    const bool beside = std::abs(parts[0].x - parts[1].x) >= std::abs(parts[0].y - parts[1].y);
    if (beside ? parts[0].x > parts[1].x : parts[0].y > parts[1].y) std::swap(parts[0], parts[1]);
    if (parts[0].colour() != parts[1].colour())
      return absl::StrCat(text, ", two parts, ", parts[0].colour(), " and ", parts[1].colour());
  }
  ColouredPart all;
  for (const ColouredPart& part : parts) {
    for (size_t i = 0; i < all.votes.size(); ++i) all.votes[i] += part.votes[i];
  }
  return absl::StrCat(text, ", ", number, " ", all.colour(), parts.size() == 1 ? " part" : " parts");
}

}  // namespace blazon::service
