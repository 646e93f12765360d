// What of a picture's colours can be measured rather than recognised, in words: the background's, and of what lies on a
// plain one how many parts there are and which colours they have. An image classifier throws this away; the captioner's
// prompt has it beside the tagger's reading.
#pragma once

#include <array>
#include <string>

#include "vision/image.h"

namespace blazon::service {

struct NamedColour {
  const char* name;
  int red, green, blue;
};
// Berlin and Kay's eleven (1969), as they are drawn in training.
inline constexpr std::array<NamedColour, 11> kNamedColours = {{{"red", 215, 35, 35},
                                                               {"orange", 240, 140, 30},
                                                               {"yellow", 240, 220, 50},
                                                               {"green", 45, 150, 60},
                                                               {"blue", 45, 80, 205},
                                                               {"purple", 125, 50, 160},
                                                               {"pink", 240, 150, 185},
                                                               {"brown", 120, 75, 40},
                                                               {"black", 18, 18, 18},
                                                               {"white", 248, 248, 248},
                                                               {"grey", 135, 135, 135}}};

// "blue background, one pink part"; "red and white background, two parts, green and black" (from the left, or from the
// top); "grey background, four brown parts"; "patterned background"; "mixed background". The border decides what the
// background is. Parts are areas that touch; two things that overlap are one. image: at least one pixel.
std::string DescribeColours(const vision::Image& image);

}  // namespace blazon::service
