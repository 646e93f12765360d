#include "service/training/like_things.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace blazon::service {
namespace {

// Each line: things that are much alike, or of which one is a sort, a part or a young of another.
constexpr const char* kLikes[] = {
    "deer,doe,wapiti,caribou,antelope,gnu",
    "ram,sheep,lamb,goat,mountain goat",
    "bull,cow,ox,yak,zebu,bison,water buffalo,gnu",
    "donkey,horse,zebra,unicorn",
    "mouse,rat,hamster,ferret,marmot,squirrel,capybara,beaver,otter",
    "dog,dingo,wolf,fox,poodle",
    "monkey,chimpanzee,gorilla,orangutan,tamarin",
    "lion,tiger,leopard,cat",
    "lizard,iguana,dinosaur,dragon,crocodile",
    "seal,sea lion,otter",
    "whale,orca,dolphin",
    "pig,wild boar",
    "elephant,mammoth",
    "hedgehog,echidna",
    "snail,slug,seashell",
    "bear,panda,teddy bear,koala",
    "chicken,hen,rooster,chick,guinea fowl",
    "duck,goose,swan,rubber duck",
    "crow,blackbird,magpie",
    "peahen,peacock",
    "ostrich,rhea",
    "heron,crowned crane",
    "turkey,roast turkey",
    "parrot,quetzal,toucan",
    "bird,bluebird,lark,cuckoo,pigeon,seagull,vulture,eagle",
    "bee,wasp,hornet,hoverfly,fly,mosquito",
    "moth,butterfly",
    "bug,beetle,ladybug,cockroach,ant,woodlouse,grasshopper,mantis",
    "worm,caterpillar",
    "lobster,shrimp,crayfish,crab,scorpion",
    "mussel,oyster,abalone,seashell",
    "squid,octopus",
    "castle,fort,fortress,ruined castle,tower,watch tower,cathedral,church",
    "house,cottage,building,farm,barn,stable,factory,church,tower",
    "obelisk,statue,totem pole,monument",
    "tent,tepee,circus tent",
    "purse,handbag,bag,backpack,paper bag,suitcase,briefcase",
    "ship,boat,sailboat,sailing ship,tugboat,canoe,shipwreck,submarine",
    "train,locomotive,boxcar,caboose,passenger carriage,tank car,tender,tram,bus",
    "truck,pickup truck,cement truck,dump truck,tow truck,dumper,fire truck,garbage truck,cement mixer,tank,ambulance",
    "car,sports car,race car,police car,taxi,jeep,ambulance",
    "tricycle,bicycle,motorcycle,motor scooter,scooter,rickshaw,wheel",
    "sled,wagon,wheelbarrow,shopping cart",
    "rocket,satellite,space probe,lunar lander",
    "mug,teacup,cup of coffee,mug of beer,pitcher,teapot,kettle,coffee maker",
    "cooking pot,pressure cooker,frying pan,kettle",
    "glass of water,glass of milk,glass of wine,glass of lemonade,cocktail,soft drink,can of soda",
    "bottle of champagne,bottle of wine,baby bottle,flask,pill bottle,test tube",
    "carton of milk,carton of juice",
    "bowl of rice,bowl of soup,bowl of ice cream,plate of spaghetti,plate",
    "pen,fountain pen,marker,highlighter,pencil,crayon,paintbrush",
    "spade,shovel,trowel,rake",
    "mallet,hammer",
    "axe,pickaxe",
    "dagger,knife,sword,fork and knife",
    "pistol,rifle,water pistol",
    "bomb,grenade",
    "pair of scissors,pair of pliers,pair of pruning shears",
    "computer,laptop,computer monitor,television,computer keyboard",
    "camera,movie camera,video camera",
    "cell phone,telephone,telephone receiver",
    "headset,pair of headphones",
    "floppy disk,compact disc,hard disk,vinyl record,memory stick",
    "gramophone,jukebox",
    "watch,clock,stopwatch",
    "microscope,telescope,magnifying glass",
    "shoe,sneaker,boot,high-heeled shoe,sandal,pair of flip-flops,roller skate,ice skate",
    "coat,jacket,shirt,polo shirt,T-shirt,dress",
    "pair of pants,pair of jeans,pair of shorts",
    "glove,pair of gloves,mitten,boxing glove,baseball glove",
    "sock,pair of socks,Christmas stocking",
    "pair of glasses,pair of sunglasses,pair of goggles,pair of binoculars",
    "hat,fedora,feathered hat,propeller hat,sombrero,top hat,Santa hat,party hat,chef's hat,cowboy hat,winter hat,"
    "baseball cap,crown,helmet",
    "football,basketball,volleyball,cricket ball,soccer ball,tennis ball,baseball,billiard ball,bowling ball,"
    "beach ball,ball,balloon,ball of yarn",
    "tennis racket,badminton racket,ping pong paddle,cricket bat,baseball bat",
    "guitar,electric guitar,bass guitar,banjo",
    "violin,cello",
    "bassoon,oboe,flute,saxophone",
    "trumpet,trombone,French horn",
    "drum,drum kit,cymbal",
    "piano,piano keyboard",
    "lemon,lime",
    "orange,mandarin orange,apricot,peach,mango",
    "apple,apple core,pomegranate,plum,cherimoya",
    "melon,watermelon",
    "raspberry,strawberry,pile of blueberries,bunch of grapes",
    "squash,pumpkin,jack-o'-lantern",
    "yam,sweet potato,potato,ginger root",
    "pepper,chili pepper",
    "onion,garlic bulb,string of garlic,radish",
    "pizza,slice of pizza",
    "pie,mince pie,slice of pie",
    "cake,birthday cake,cupcake,muffin,Christmas pudding",
    "egg,fried egg,Easter egg",
    "loaf of bread,baguette,croissant,bagel,doughnut,pretzel",
    "hamburger,sandwich,hot dog,taco,burrito",
    "ice cream cone,popsicle,lollipop,candy cane,candy",
    "piece of meat,steak,chicken leg,piece of bacon",
    "almond,pecan,walnut,peanut,chestnut,acorn",
    "moon,crescent moon,planet,globe,sun",
    "tree,birch tree,oak tree,palm tree,Christmas tree,pine tree",
    "flower,anemone,anthurium,hibiscus,daffodil,iris,marigold,rose,petunia,sunflower,tulip",
    "fish,butterflyfish,clownfish,coral trout,dolphinfish,lionfish,moon wrasse,blowfish,angelfish,shark",
    "plant,lavender plant,thyme plant,seedling,bamboo plant,fern,sprig of holly,leaf,four-leaf clover",
    "book,notebook,stack of books,newspaper,sheet of paper,folder,clipboard,calendar,envelope",
    "brick,brick wall,gate",
    "cardboard box,gift box,box of popcorn,toolbox,barrel,basket,bucket,garbage can,compost bin",
    "target,dartboard",
    "lightbulb,lamp,flashlight,candle,Christmas light",
    "bathtub,toilet,shower",
    "broom,scrub brush,toothbrush",
    "airplane,paper airplane,helicopter",
    "bow,bow and arrow",
    "star,Christmas ornament",
    "snowman,Santa Claus",
    "fireman,astronaut,person",
};

// The parts of the world, each with the kinds that belong to it; kinds of one part are not told apart.
constexpr const char* kParts[] = {
    "animal,bird,insect,fish,shellfish,dog,cat,snake,lizard,monkey,spider,frog,turtle,body part,person",
    "plant,flower,tree,fruit,vegetable,nut,mushroom,food,dessert,dish,drink,candy,pot",
    "vehicle,car,truck,bus,train,boat,ship,aircraft,spacecraft,wheel,toy,machine",
    "piece of clothing,hat,shoe,bag,helmet,decoration,button",
    "tool,weapon,device,household object,medical device,piece of furniture,sports equipment,ball,mailbox,"
    "musical instrument,clothespin,cone,trophy",
    "building,monument,tent,cave,planet",
};

// The part that `kind` belongs to; null: none.
const char* PartOf(const std::string& kind) {
  for (const char* part : kParts) {
    const std::vector<std::string> kinds = absl::StrSplit(part, ',');
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) return part;
  }
  return nullptr;
}

// The lines of kLikes that a name is in.
const std::map<std::string, std::vector<const char*>>& LinesOfLikes() {
  static const auto* const lines = [] {
    auto* made = new std::map<std::string, std::vector<const char*>>;
    for (const char* line : kLikes) {
      for (const auto& name : absl::StrSplit(line, ',')) (*made)[std::string(name)].push_back(line);
    }
    return made;
  }();
  return *lines;
}

bool HoldsWords(const std::string& text, const std::string& words) {
  return absl::StrCat(" ", text, " ").find(absl::StrCat(" ", words, " ")) != std::string::npos;
}

}  // namespace

bool AreAlike(const std::string& first, const std::string& second) {
  if (HoldsWords(first, second) || HoldsWords(second, first)) return true;
  const auto one = LinesOfLikes().find(first), other = LinesOfLikes().find(second);
  if (one == LinesOfLikes().end() || other == LinesOfLikes().end()) return false;
  return std::find_first_of(one->second.begin(), one->second.end(), other->second.begin(), other->second.end()) !=
         one->second.end();
}

const std::vector<std::string>& AskedKinds() {
  static const auto* const kinds = new std::vector<std::string>{"animal",
                                                                "bird",
                                                                "insect",
                                                                "fish",
                                                                "fruit",
                                                                "vegetable",
                                                                "flower",
                                                                "vehicle",
                                                                "car",
                                                                "building",
                                                                "musical instrument",
                                                                "tool",
                                                                "piece of clothing"};
  return *kinds;
}

const char* BroaderKind(const std::string& kind) {
  // Each line: a kind, and what belongs to it.
  static constexpr std::pair<const char*, const char*> kBroader[] = {
      {"animal", "bird,insect,fish,shellfish,dog,cat,snake,lizard,monkey,spider,frog,turtle"},
      {"vehicle", "car,truck,bus,train,boat,ship,aircraft,spacecraft"},
      {"plant", "flower,tree"},
      {"food", "fruit,vegetable,nut,dessert,dish,candy"},
      {"piece of clothing", "hat,shoe"},
      {"sports equipment", "ball"}};
  for (const auto& [broader, kinds] : kBroader) {
    for (const auto& each : absl::StrSplit(kinds, ',')) {
      if (each == kind) return broader;
    }
  }
  return nullptr;
}

bool IsSurelyNot(const NamedThing& thing, const std::string& kind) {
  const char* part = PartOf(thing.kind);
  return part != nullptr && part != PartOf(kind);
}

}  // namespace blazon::service
