// Each format against what a reader of somebody else's found in the same file (tests/reference/document_goldens.py),
// and the formats of plain text case by case.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_replace.h"
#include "retrieval/document_loader.h"
#include "retrieval/json_reader.h"
#include "retrieval/page_quality.h"
#include "retrieval/picture_text.h"
#include "retrieval/words.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::filesystem::path kFolder = std::filesystem::path(BLAZON_SOURCE_DIR) / "tests" / "goldens" / "documents";

Document Load(const std::string& name, const std::string& bytes, const LoaderOptions& options = {}) {
  const absl::StatusOr<DocumentFormat> format = FormatFromPath(name);
  EXPECT_TRUE(format.ok()) << format.status();
  const absl::StatusOr<Document> document = LoadDocument(*format, bytes, name, options);
  EXPECT_TRUE(document.ok()) << document.status();
  return document.ok() ? *document : Document();
}

std::string Refusal(const std::string& name, const std::string& bytes, const LoaderOptions& options = {}) {
  return std::string(LoadDocument(*FormatFromPath(name), bytes, name, options).status().message());
}

// A document's words, place by place; markers of lists and signs between cells do not count.
std::map<std::string, std::vector<std::string>> WordsByPlace(const Document& document) {
  std::map<std::string, std::vector<std::string>> result;
  std::vector<Place> places = document.places;
  if (places.empty()) places.push_back({0, ""});
  for (size_t i = 0; i < places.size(); ++i) {
    const size_t end = i + 1 < places.size() ? places[i + 1].begin : document.text.size();
    result[places[i].name] = Words(document.text.substr(places[i].begin, end - places[i].begin));
  }
  return result;
}

TEST(FormatLoadersTest, FindWhatOtherReadersFind) {
  const auto answers = nlohmann::json::parse(ReadFile(kFolder / "documents.json"));
  ASSERT_EQ(answers.size(), 7u);
  for (const auto& [name, answer] : answers.items()) {
    SCOPED_TRACE(name + "; expectations come from: python tests/reference/document_goldens.py");
    LoaderOptions options;
    options.read_pictures = false;
    Document document = Load(name, ReadFile(kFolder / name), options);
    EXPECT_EQ(document.title, answer["title"].get<std::string>());
    if (answer["author"] != "") {
      EXPECT_EQ(document.metadata.at("author"), answer["author"].get<std::string>());
    }
    if (name == "well.docx") {  // python-docx does not number lists
      document.text = absl::StrReplaceAll(document.text, {{"1. Turn", "Turn"}, {"2. Close", "Close"}});
    }
    const auto words = WordsByPlace(document);
    EXPECT_EQ(words.size(), answer["places"].size());
    for (const auto& [place, lines] : answer["places"].items()) {
      std::vector<std::string> wanted;
      for (const auto& line : lines) {
        for (std::string& word : Words(line.get<std::string>())) wanted.push_back(std::move(word));
      }
      ASSERT_TRUE(words.contains(place)) << place;
      EXPECT_EQ(words.at(place), wanted) << place << ": " << document.text;
    }
    EXPECT_TRUE(IsValidUtf8(document.text));
    EXPECT_EQ(document.Line(0), 1);
  }
}

TEST(FormatLoadersTest, DocxKeepsHeadingsListsAndTables) {
  const Document document = Load("well.docx", ReadFile(kFolder / "well.docx"));
  EXPECT_THAT(document.text, HasSubstr("- Check the chain\n- Check the bucket\n"));
  EXPECT_THAT(document.text, HasSubstr("valve | V-7 | 310\n"));
  EXPECT_THAT(document.text, HasSubstr("1. Turn the crank\n2. Close the lid\n"));
  EXPECT_THAT(document.HeadingsAt(document.text.find("valve")), ElementsAre("Care", "Parts"));
  EXPECT_THAT(document.HeadingsAt(document.text.find("1874")), ElementsAre("History"));
}

TEST(FormatLoadersTest, OdtAndEpubKeepHeadings) {
  const Document bees = Load("bees.odt", ReadFile(kFolder / "bees.odt"));
  EXPECT_THAT(bees.text, HasSubstr("- queen seen\n- two frames of brood\n"));
  EXPECT_THAT(bees.text, HasSubstr("hive | kilograms\nnorth | 31\n"));
  EXPECT_THAT(bees.HeadingsAt(bees.text.find("north")), ElementsAre("Spring", "Weights"));
  const Document tales = Load("tales.epub", ReadFile(kFolder / "tales.epub"));
  EXPECT_THAT(tales.HeadingsAt(tales.text.find("café")), ElementsAre("The crow"));
  EXPECT_EQ(tales.PlaceAt(tales.text.find("café")), "chapter=2");
}

TEST(FormatLoadersTest, SlidesHaveTheirTitleAsHeading) {
  const Document document = Load("ferry.pptx", ReadFile(kFolder / "ferry.pptx"));
  EXPECT_THAT(document.HeadingsAt(document.text.find("Seven")), ElementsAre("Departures"));
  EXPECT_EQ(document.PlaceAt(document.text.find("winter break")), "slide=2");
}

TEST(FormatLoadersTest, PdfKeepsPagesHeadingsAndWhereLinesStand) {
  LoaderOptions options;
  options.read_pictures = false;
  const Document document = Load("pump.pdf", ReadFile(kFolder / "pump.pdf"), options);
  // A paragraph is a line of the text.
  EXPECT_THAT(document.text,
              HasSubstr("The pump is greased in spring and once more before the first frost. Use grease "));
  EXPECT_THAT(document.HeadingsAt(document.text.find("greased")), ElementsAre("Maintenance"));
  const size_t spare = document.text.find("Spare parts");
  EXPECT_EQ(document.PlaceAt(spare), "page=2");
  const Box box = document.BoxOf({spare, spare + 5});
  EXPECT_NEAR(box.left, 50, 1);
  EXPECT_NEAR(box.top, 595 - 540 - 11, 4);  // drawn 540 points above the lower edge, 11 points high
  EXPECT_THAT(document.warnings, ElementsAre("page 3 is a scan: there is a picture and no text"));
}

TEST(FormatLoadersTest, ScansAreReadByTesseract) {
  ASSERT_TRUE(CanReadPictures()) << "make setup installs tesseract-ocr";
  const Document document = Load("pump.pdf", ReadFile(kFolder / "pump.pdf"));
  const size_t invoice = document.text.find("INVOICE 4711");
  ASSERT_NE(invoice, std::string::npos) << document.text;
  EXPECT_EQ(document.PlaceAt(invoice), "page=3");
  EXPECT_THAT(document.warnings, ElementsAre("page 3 was read from a picture, by tesseract"));
}

TEST(FormatLoadersTest, PicturesAreDescribed) {
  LoaderOptions options;
  options.read_pictures = false;
  const std::string png = "\x89PNG\r\n\x1a\n and so on";
  EXPECT_THAT(Refusal("a.png", png, options), HasSubstr("neither a captioner for it nor tesseract"));
  options.describe_picture = [](std::string_view) { return absl::StatusOr<std::string>("A red kite on the beach."); };
  options.describer = "test/1";
  const Document document = Load("summer/kite.png", png, options);
  EXPECT_EQ(document.text, "A red kite on the beach.\n");
  EXPECT_EQ(document.title, "kite");
  EXPECT_EQ(document.parser, "image/1 test/1");
}

TEST(FormatLoadersTest, RowsOfATableAreRecords) {
  const std::string csv = "name,grams,note\nvalve,310,\"for \"\"cold\"\" water, only\"\n\nseal,12,\"two\nlines\"\n";
  const Document document = Load("parts.csv", csv);
  EXPECT_EQ(document.text,
            "name: valve | grams: 310 | note: for \"cold\" water, only\nname: seal | grams: 12 | note: two lines\n");
  EXPECT_EQ(csv.substr(document.SourceOffset(document.text.find("310")), 3), "310");
  EXPECT_EQ(document.Line(document.text.find("name: seal")), 4);
  EXPECT_EQ(Load("a.csv", "a;b;c\n1,5;2,5;3\n2;3;4\n").text, "a: 1,5 | b: 2,5 | c: 3\na: 2 | b: 3 | c: 4\n");
  EXPECT_EQ(Load("a.tsv", "x\ty\n1\t\n\t2\n").text, "x: 1\ny: 2\n");
  EXPECT_EQ(Load("a.csv", "1,2\n3,4").text, "1 | 2\n3 | 4\n");  // no names
  EXPECT_EQ(Load("a.csv", "plain words\nmore").text, "plain words\nmore\n");
  EXPECT_EQ(Load("a.csv", "only,row").text, "only | row\n");
  EXPECT_EQ(Load("a.csv", "a,b\n\"never closed,1\n2").text, "a: never closed,1 2\n");
}

TEST(FormatLoadersTest, JsonIsReadByPathOrByPointer) {
  const std::string json = R"({"title": "Pump", "specs": {"weight": 14.5, "tags": ["blue", "caf\u00e9 \ud83d\ude0a"]},
 "body": "Line one.\nLine two.", "none": null, "ok": true})";
  const Document document = Load("pump.json", json);
  EXPECT_EQ(
      document.text,
      "title: Pump\n\nspecs/weight: 14.5\nspecs/tags/0: blue\nspecs/tags/1: café 😊\n\nbody: Line one.\nLine two.\n"
      "ok: true\n");
  EXPECT_EQ(document.Line(document.text.find("ok")), 2);
  LoaderOptions options;
  options.json_text = "/body";
  const Document body = Load("pump.json", json, options);
  EXPECT_EQ(body.text, "Line one.\nLine two.\n");
  EXPECT_EQ(body.metadata.at("title"), "Pump");
  EXPECT_EQ(body.metadata.at("ok"), "true");
  EXPECT_EQ(body.parser, "json/1 /body");
  options.json_text = "/specs/tags/*";
  EXPECT_EQ(Load("pump.json", json, options).text, "blue\n\ncafé 😊\n");
  options.json_text = "/nowhere";
  EXPECT_THAT(Refusal("pump.json", json, options), HasSubstr("nothing in it stands at /nowhere"));
  options.json_text = "body";
  EXPECT_THAT(Refusal("pump.json", json, options), HasSubstr("must be a JSON pointer"));
  EXPECT_THAT(Refusal("a.json", "{\"a\": 1,\n}"), HasSubstr("no name where one must be on line 2"));
}

TEST(FormatLoadersTest, JsonLinesAreRecordsAndBadOnesAreReported) {
  const std::string lines = "{\"q\": \"one\"}\n{\"q\": \"two\", \"n\": 2}\n\n{\"q\": \"thr\n{\"q\": \"four\"}\n";
  const Document document = Load("log.jsonl", lines);
  EXPECT_EQ(document.text, "q: one\n\nq: two\nn: 2\n\nq: four\n\n");
  EXPECT_EQ(document.Line(document.text.find("four")), 5);
  EXPECT_THAT(document.warnings, ElementsAre("1 line was left out: it is not JSON: a string does not end on line 4"));
  LoaderOptions options;
  options.json_text = "/q";
  EXPECT_EQ(Load("log.jsonl", lines, options).text, "one\n\ntwo\n\nfour\n\n");
  EXPECT_THAT(Refusal("log.jsonl", "no\nnot this\n"), HasSubstr("something that is no value on line 1"));
}

// nlohmann's parser is the judge of what is JSON.
TEST(FormatLoadersTest, JsonReaderTakesWhatJsonIs) {
  for (const std::string text : {"1",
                                 "-0",
                                 "-0.5e+10",
                                 "01",
                                 "1.",
                                 ".5",
                                 "1e",
                                 "+1",
                                 "\"\"",
                                 "\"\\u12\"",
                                 "\"\\ud800\"",
                                 "\"\\ud800\\u0041\"",
                                 "[]",
                                 "[1]",
                                 "[1,]",
                                 "[,1]",
                                 "[1 2]",
                                 "{}",
                                 "{\"a\":1}",
                                 "{\"a\":1,}",
                                 "{\"a\"}",
                                 "{a:1}",
                                 "[{\"a\":[{}]}]",
                                 "[[1],[2,[3]]]",
                                 "true",
                                 "tru",
                                 "nul",
                                 "truefalse",
                                 "1 2",
                                 "",
                                 " ",
                                 "[",
                                 "]",
                                 "{",
                                 "}",
                                 "[}",
                                 "{\"a\":]",
                                 "\"a",
                                 "\"\t\"",
                                 "\"\\x\"",
                                 "[1]]",
                                 "{\"a\":{\"b\":null}}",
                                 " [ 1 , 2 ] ",
                                 "{\"a\":1 \"b\":2}",
                                 "[true,false,null]",
                                 "NaN",
                                 "'a'",
                                 "[1,[2]",
                                 "1e5",
                                 "1E-2"}) {
    std::vector<std::string> values;
    const absl::Status status =
        ReadJson(text, 100, 1, [&](const JsonPath&, const JsonScalar& scalar) { values.push_back(scalar.text); });
    EXPECT_EQ(status.ok(), nlohmann::json::accept(text) || text.find("ud800") != std::string::npos) << text << status;
  }
  // A number beyond what a double holds stays as it is written.
  std::string number;
  EXPECT_TRUE(
      ReadJson("888e28888", 1, 1, [&](const JsonPath&, const JsonScalar& scalar) { number = scalar.text; }).ok());
  EXPECT_EQ(number, "888e28888");
}

TEST(FormatLoadersTest, SourcesHaveClassesAndFunctionsAsHeadings) {
  const Document python =
      Load("a.py",
           "import os\n\n# Says hello.\ndef hello(name):\n    return name\n\nclass Pump(Base):\n    def "
           "start(self):\n        self.on = True\n\nprint(hello('x'))\n");
  EXPECT_THAT(python.HeadingsAt(python.text.find("import")), ElementsAre());
  EXPECT_THAT(python.HeadingsAt(python.text.find("# Says")), ElementsAre("hello"));
  EXPECT_THAT(python.HeadingsAt(python.text.find("self.on")), ElementsAre("Pump", "start"));
  EXPECT_THAT(python.HeadingsAt(python.text.find("print")), ElementsAre());
  EXPECT_EQ(python.Line(python.text.find("self.on")), 9);
  const Document cpp = Load("a.cc",
                            "#include <x>\nint Add(int a, int b) {\n  if (a) {\n    return b;\n  }\n  Call(a);\n}\n\n"
                            "class Tank {\n public:\n  void Fill(double litres) {\n    level_ += litres;\n  }\n};\n");
  EXPECT_THAT(cpp.HeadingsAt(cpp.text.find("return b")), ElementsAre("Add"));
  EXPECT_THAT(cpp.HeadingsAt(cpp.text.find("Call")), ElementsAre("Add"));
  EXPECT_THAT(cpp.HeadingsAt(cpp.text.find("level_")), ElementsAre("Tank", "Fill"));
  const Document go = Load("a.go", "package x\n\nfunc (p *Pump) Start() error {\n\treturn nil\n}\n");
  EXPECT_THAT(go.HeadingsAt(go.text.find("return")), ElementsAre("Start"));
  EXPECT_EQ(cpp.parser, "source/1");
}

TEST(FormatLoadersTest, EncodingsAreDetected) {
  const auto detect = [](const std::string& bytes) {
    const Document document = Load("a.txt", bytes);
    return std::pair(document.encoding, document.text);
  };
  const std::string koi =
      "\xf0\xd2\xc9\xd7\xc5\xd4, \xcb\xc1\xcb \xd4\xd7\xcf\xc9 \xc4\xc5\xcc\xc1? \xfc\xd4\xcf "
      "\xd0\xd2\xcf\xd3\xd4\xcf\xca \xd4\xc5\xcb\xd3\xd4 \xce\xc1 \xd2\xd5\xd3\xd3\xcb\xcf\xcd.";
  EXPECT_EQ(detect(koi),
            std::pair(std::string("KOI8-R"), std::string("Привет, как твои дела? Это простой текст на русском.")));
  const std::string japanese =
      "\x82\xb1\x82\xea\x82\xcd\x93\xfa\x96\x7b\x8c\xea\x82\xcc\x95\xb6\x8f\xcd\x82\xc5\x82\xb7\x81\x42";
  EXPECT_EQ(detect(japanese), std::pair(std::string("Shift_JIS"), std::string("これは日本語の文章です。")));
  const std::string wide("h\0\xe9\0l\0l\0o\0 \0t\0h\0e\0r\0e\0", 22);
  EXPECT_EQ(detect(wide), std::pair(std::string("UTF-16LE"), std::string("héllo there")));
  const Document mixed = Load("a.txt", "Grüße aus Köln, schöne Tage, süße Äpfel, Öl und \xe4\xf6 bald.");
  EXPECT_EQ(mixed.encoding, "UTF-8");
  EXPECT_THAT(mixed.text, HasSubstr("Öl und \uFFFD\uFFFD bald"));
  EXPECT_THAT(mixed.warnings, ElementsAre("2 of its bytes are not UTF-8; they were read as U+FFFD"));
}

TEST(FormatLoadersTest, PagesAreJudged) {
  EXPECT_EQ(PageFault("An ordinary page, with naïve words and 3.5 numbers."), "");
  EXPECT_EQ(PageFault("これは日本語の文章です。空白はありません。"), "");
  EXPECT_EQ(PageFault("Th\uFFFD p\uFFFDmp \uFFFDs bl\uFFFDe"), "has characters that cannot be read");
  EXPECT_EQ(PageFault(std::string(300, 'x')), "has no spaces between its words");
  EXPECT_EQ(PageFault(""), "");
  EXPECT_EQ(PageList({3}), "page 3");
  EXPECT_EQ(PageList({1, 2, 3, 7, 9, 10}), "pages 1 to 3, 7 and 9 to 10");
}

}  // namespace
}  // namespace blazon::retrieval
