#include "service/training/imagenet_names.h"

#include <map>

namespace blazon::service {
namespace {

struct KindRange {
  int64_t first, last;
  const char* kind;
};
constexpr KindRange kRanges[] = {
    {0, 6, "fish"},          {7, 24, "bird"},       {25, 32, "amphibian"}, {33, 37, "turtle"},
    {38, 48, "lizard"},      {49, 50, "crocodile"}, {51, 51, "dinosaur"},  {52, 68, "snake"},
    {69, 79, "insect"},      {80, 100, "bird"},     {101, 106, "animal"},  {107, 117, "animal"},
    {118, 126, "shellfish"}, {127, 146, "bird"},    {147, 150, "animal"},  {151, 268, "dog"},
    {269, 275, "wild dog"},  {276, 280, "animal"},  {281, 285, "cat"},     {286, 293, "big cat"},
    {294, 297, "bear"},      {298, 299, "animal"},  {300, 326, "insect"},  {327, 329, "animal"},
    {330, 364, "animal"},    {365, 384, "monkey"},  {385, 388, "animal"},  {389, 397, "fish"},
    {936, 947, "vegetable"}, {948, 957, "fruit"},   {991, 997, "mushroom"}};

}  // namespace

Concept ImageNetConcept(int64_t index, const std::string& label) {
  // Where the list's first name is not the everyday one.
  static const std::map<std::string, std::string> kPlain = {{"ice bear", "polar bear"},
                                                            {"American black bear", "black bear"},
                                                            {"cock", "rooster"},
                                                            {"drake", "duck"},
                                                            {"tabby", "tabby cat"},
                                                            {"sorrel", "horse"},
                                                            {"lesser panda", "red panda"},
                                                            {"giant panda", "panda"},
                                                            {"ox", "ox"},
                                                            {"ram", "ram"},
                                                            {"hog", "pig"},
                                                            {"wood rabbit", "rabbit"},
                                                            {"airliner", "airplane"},
                                                            {"monarch", "monarch butterfly"},
                                                            {"ringlet", "butterfly"},
                                                            {"lycaenid", "butterfly"},
                                                            {"sulphur butterfly", "butterfly"},
                                                            {"cabbage butterfly", "butterfly"},
                                                            {"admiral", "butterfly"},
                                                            {"crane bird", "crane"},
                                                            {"dalmatian", "dalmatian dog"},
                                                            {"boxer", "boxer dog"},
                                                            {"chow", "chow dog"},
                                                            {"malamute", "malamute dog"},
                                                            {"sunglass", "pair of sunglasses"},
                                                            {"sunglasses", "pair of sunglasses"},
                                                            {"jean", "pair of jeans"},
                                                            {"binoculars", "pair of binoculars"},
                                                            {"sports car", "sports car"},
                                                            {"jay", "jay"},
                                                            {"chickadee", "chickadee"},
                                                            {"llama", "llama"},
                                                            {"Arabian camel", "camel"},
                                                            {"African chameleon", "chameleon"},
                                                            {"American alligator", "alligator"},
                                                            {"African crocodile", "crocodile"},
                                                            {"great grey owl", "owl"},
                                                            {"king penguin", "penguin"},
                                                            {"black swan", "swan"},
                                                            {"hen", "hen"},
                                                            {"crash helmet", "helmet"},
                                                            {"running shoe", "sneaker"},
                                                            {"pop bottle", "bottle"},
                                                            {"screen", "computer screen"},
                                                            {"notebook", "laptop"},
                                                            {"upright", "piano"},
                                                            {"grand piano", "piano"},
                                                            {"cab", "taxi"},
                                                            {"mountain bike", "bicycle"},
                                                            {"ping-pong ball", "ping-pong ball"},
                                                            {"eft", "newt"}};
  const auto found = kPlain.find(label);
  Concept named{found == kPlain.end() ? label : found->second, ""};
  for (const KindRange& range : kRanges) {
    if (index >= range.first && index <= range.last) named.kind = range.kind;
  }
  return named;
}

}  // namespace blazon::service
