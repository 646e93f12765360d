// A folder of files made to break a reader: each is read or named in the report, and the run goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zip.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "retrieval/child_process.h"
#include "retrieval/indexer.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path kGoldens = std::filesystem::path(BLAZON_SOURCE_DIR) / "tests" / "goldens" / "documents";

std::string Repeat(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

using Entries = std::vector<std::pair<std::string, std::string>>;

std::string Zip(const Entries& entries) {
  TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "made.zip";
  zip_t* archive = zip_open(file.c_str(), ZIP_CREATE, nullptr);
  for (const auto& [name, content] : entries)
    zip_file_add(archive, name.c_str(), zip_source_buffer(archive, content.data(), content.size(), 0), 0);
  EXPECT_EQ(zip_close(archive), 0);
  return ReadFile(file);
}

const std::string kTypes =
    R"(<Types xmlns="t"><Override PartName="/word/document.xml" ContentType="x.wordprocessingml.document.main+xml"/>)"
    R"(<Override PartName="/xl/workbook.xml" ContentType="x.spreadsheetml.sheet.main+xml"/></Types>)";

std::string Relationships(const Entries& targets) {
  std::string xml = "<Relationships>";
  for (const auto& [type, target] : targets)
    absl::StrAppend(&xml, "<Relationship Id=\"", type, "\" Type=\"http://x/", type, "\" Target=\"", target, "\"/>");
  return xml + "</Relationships>";
}

std::string Docx(const std::string& body, const Entries& more = {}) {
  Entries entries = {{"[Content_Types].xml", kTypes},
                     {"_rels/.rels", Relationships({{"officeDocument", "word/document.xml"}})},
                     {"word/document.xml", absl::StrCat("<w:document><w:body>", body, "</w:body></w:document>")}};
  entries.insert(entries.end(), more.begin(), more.end());
  return Zip(entries);
}

std::string Xlsx(const std::string& strings, const std::string& rows) {
  return Zip({{"[Content_Types].xml", kTypes},
              {"_rels/.rels", Relationships({{"officeDocument", "xl/workbook.xml"}})},
              {"xl/workbook.xml", "<workbook><sheets><sheet name=\"S\" r:id=\"worksheet\"/></sheets></workbook>"},
              {"xl/_rels/workbook.xml.rels", Relationships({{"worksheet", "s.xml"}, {"sharedStrings", "t.xml"}})},
              {"xl/s.xml", absl::StrCat("<worksheet><sheetData>", rows, "</sheetData></worksheet>")},
              {"xl/t.xml", absl::StrCat("<sst>", strings, "</sst>")}});
}

std::string Odt(const std::string& body) {
  return Zip({{"mimetype", "application/vnd.oasis.opendocument.text"},
              {"content.xml", absl::StrCat("<office:document-content><office:body><office:text>", body,
                                           "</office:text></office:body></office:document-content>")}});
}

std::string Epub(const std::string& manifest, const std::string& spine, const Entries& pages) {
  Entries entries = {
      {"META-INF/container.xml", "<container><rootfiles><rootfile full-path=\"p.opf\"/></rootfiles></container>"},
      {"p.opf", absl::StrCat("<package><manifest>", manifest, "</manifest><spine>", spine, "</spine></package>")}};
  entries.insert(entries.end(), pages.begin(), pages.end());
  return Zip(entries);
}

std::string Pdf(const std::string& objects) {
  return absl::StrCat("%PDF-1.4\n", objects, "trailer << /Root 1 0 R /Size 9 >>\n%%EOF\n");
}

// What the report must say of each file; "" when it is read.
std::map<std::string, std::pair<std::string, std::string>> HostileFiles() {
  const auto golden = [](const std::string& name) { return ReadFile(kGoldens / name); };
  const auto half = [&](const std::string& name) { return golden(name).substr(0, golden(name).size() / 2); };
  const std::string paragraph = "<w:p><w:r><w:t>Still read.</w:t></w:r></w:p>";
  std::string nested = "<w:p><w:r><w:t>x</w:t></w:r></w:p>";
  Entries many = {{"[Content_Types].xml", kTypes}};
  for (int i = 0; i <= LoaderLimits().max_zip_entries; ++i) many.emplace_back(absl::StrCat("e", i), "");
  std::string flipped = golden("well.docx");
  const size_t content = flipped.find("word/document.xml") + 600;
  flipped[content] = static_cast<char>(flipped[content] ^ 1);
  const std::string cycle =
      "1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj\n2 0 obj << /Type /Pages /Kids [2 0 R 2 0 R] /Count 99 >> "
      "endobj\n";
  std::string mail = "From: a@b\nSubject: s\n";
  for (int i = 0; i < 20000; ++i)
    mail += absl::StrCat("Content-Type: multipart/mixed; boundary=b", i, "\n\n--b", i, "\n");
  return {
      {"bomb.docx", {Docx(std::string(40 << 20, ' ')), "unpacks to more than 200 times its size"}},
      {"many.docx", {Zip(many), "at most 20000 are allowed"}},
      {"laughs.docx",
       {Zip({{"[Content_Types].xml", kTypes},
             {"_rels/.rels", Relationships({{"officeDocument", "word/document.xml"}})},
             {"word/document.xml", "<!DOCTYPE d [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><d>&b;</d>"}}),
        "declares XML entities"}},
      {"deep.docx", {Docx(Repeat("<w:sdt>", 20000) + nested + Repeat("</w:sdt>", 20000)), "nested deeper than 512"}},
      {"tables.docx", {Docx(Repeat("<w:tbl><w:tr><w:tc>", 20000)), "is not XML"}},
      {"million.docx", {Docx(Repeat("<a/>", 8 << 20)), "unpacks to more than 200 times"}},
      {"circle.docx",
       {Docx("<w:p><w:pPr><w:pStyle w:val=\"A\"/></w:pPr><w:r><w:t>Round and round.</w:t></w:r></w:p>",
             {{"word/_rels/document.xml.rels", Relationships({{"styles", "styles.xml"}})},
              {"word/styles.xml",
               "<w:styles><w:style w:styleId=\"A\"><w:basedOn w:val=\"B\"/></w:style><w:style "
               "w:styleId=\"B\"><w:basedOn w:val=\"A\"/></w:style></w:styles>"}}),
        ""}},
      {"self.docx",
       {Docx(paragraph, {{"word/_rels/document.xml.rels", Relationships({{"styles", "document.xml"}})}}), ""}},
      {"escape.docx", {Docx(paragraph, {{"../../etc/passwd", "x"}}), ""}},
      {"cut.docx", {half("well.docx"), "damaged zip file"}},
      {"flipped.docx", {flipped, "damaged"}},
      {"empty.docx", {Docx(""), "it holds no text"}},
      {"really-pdf.docx", {golden("pump.pdf"), "by its content it is a PDF file"}},
      {"really-xlsx.docx", {golden("shop.xlsx"), "it is a workbook (.xlsx)"}},
      {"really-odt.docx", {golden("bees.odt"), "by its content another zip file"}},
      {"old.docx", {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 legacy", "before 2007, or one with a password"}},
      {"really-docx.xlsx", {golden("well.docx"), "it is a Word document (.docx)"}},
      {"really-docx.txt", {golden("well.docx"), "it is binary, not text: a zip file"}},
      {"really-docx.epub", {golden("well.docx"), "another zip file"}},
      {"really-text.pdf", {"only words", "by its name it is a PDF file, by its content it is not"}},
      {"really-text.png", {"only words", "by its name it is a picture"}},
      {"strings.xlsx",
       {Xlsx(absl::StrCat("<si><t>", std::string(1 << 20, 'x'), "</t></si>"),
             absl::StrCat("<row>", Repeat("<c t=\"s\"><v>0</v></c>", 10000), "</row>")),
        "holds more than the 67108864 bytes"}},
      {"columns.xlsx", {Xlsx("", "<row><c r=\"ZZZZZZZZZZZZZZZZZZZZ1\"><v>1</v></c></row>"), "more than 16384 columns"}},
      {"index.xlsx",
       {Xlsx("", "<row><c t=\"s\"><v>-1</v></c><c t=\"s\"><v>99999999999</v></c><c><v>1e999</v></c></row>"), ""}},
      {"spaces.odt", {Odt("<text:p>a<text:s text:c=\"2000000000\"/>b</text:p>"), ""}},
      {"repeats.odt",
       {Odt("<table:table><table:table-row table:number-rows-repeated=\"2000000000\"><table:table-cell "
            "table:number-columns-repeated=\"2000000000\"><text:p>x</text:p></table:table-cell></table:table-row></"
            "table:table>"),
        ""}},
      {"deep.odt", {Odt(Repeat("<text:section>", 5000) + Repeat("</text:section>", 5000)), "nested deeper than 512"}},
      {"cut.odt", {half("bees.odt"), "damaged zip file"}},
      {"spine.epub",
       {Epub("<item id=\"a\" href=\"a.xhtml\" media-type=\"text/html\"/>", Repeat("<itemref idref=\"a\"/>", 10001),
             {{"a.xhtml", "<p>again</p>"}}),
        "more than 10000 chapters"}},
      {"outside.epub",
       {Epub("<item id=\"a\" href=\"../../../etc/passwd\" media-type=\"text/html\"/>", "<itemref idref=\"a\"/>", {}),
        "it holds no text"}},
      {"cut.epub", {half("tales.epub"), "damaged zip file"}},
      {"cut.pdf", {half("pump.pdf"), "cannot be read"}},
      {"cycle.pdf", {Pdf(cycle), "cannot be read"}},
      {"count.pdf",
       {Pdf("1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj\n2 0 obj << /Type /Pages /Kids [] /Count 2000000000 >> "
            "endobj\n"),
        "cannot be read"}},
      {"locked.pdf", {golden("locked.pdf"), "it is encrypted"}},
      {"nests.eml", {mail, "parts in parts"}},
      {"none.eml", {"just words, no headers", "it is no e-mail"}},
      {"deep.json", {Repeat("[", 200000), "nested deeper than 512"}},
      {"names.json",
       {absl::StrCat("{\"", std::string(100000, 'n'), "\":[", Repeat("1,", 20000), "1]}"), "67108864 are allowed"}},
      {"wide.csv", {std::string(100000, ','), "more than 16384 columns"}},
      {"names.csv", {absl::StrCat(std::string(1 << 20, 'n'), ",b\n", Repeat("1,2\n", 1000)), "67108864 bytes of text"}},
      {"nul.txt", {std::string("text\0text", 9), "a zero byte at 4"}},
      {"mixed.txt", {"Grüße aus Köln und Äpfel, \xe4 dort.", ""}},
      {"line.txt", {Repeat("no end in sight ", 1 << 15), ""}},
      {"line100.txt", {std::string(100 << 20, 'a'), "33554432 bytes that a document may have"}},
      {"honest.txt", {"The only honest file.", ""}},
  };
}

TEST(HostileDocumentsTest, EachIsReadOrNamedInTheReportAndTheRunGoesOn) {
  TemporaryFolder folder;
  const auto files = HostileFiles();
  for (const auto& [name, file] : files) WriteFile(folder.path() / "files" / name, file.first);
  auto collection = Collection::Open(folder.path() / "collection", WriteOptions());
  ASSERT_TRUE(collection.ok()) << collection.status();
  IndexerOptions options;
  options.loader.read_pictures = false;
  options.loader_threads = 2;
  const auto report = Indexer(**collection, options).Add({folder.path() / "files"});
  ASSERT_TRUE(report.ok()) << report.status();
  std::map<std::string, std::string> refused;
  for (const SkippedFile& skipped : report->skipped) refused[skipped.path] = std::string(skipped.reason.message());
  int64_t read = 0;
  for (const auto& [name, file] : files) {
    const std::string& expected = file.second;
    if (expected.empty()) ++read;
    EXPECT_EQ(refused.contains(name), !expected.empty()) << name << ": " << refused[name];
    EXPECT_THAT(refused[name], HasSubstr(expected)) << name;
  }
  EXPECT_EQ(report->added, read);
  EXPECT_EQ(report->unsupported, 0);
  ASSERT_EQ(report->warnings.size(), 1u);
  EXPECT_EQ(report->warnings[0].path, "mixed.txt");
}

// Run by the test after this one, in another process.
TEST(HostileDocumentsTest, DISABLED_CrashInAChild) { abort(); }

TEST(HostileDocumentsTest, AChildThatHangsCrashesOrTalksTooMuchIsEnded) {
  const auto run = [](const std::string& script, const ChildLimits& limits) {
    const auto result = RunChild({*FindProgram("sh"), "-c", script}, "input", limits);
    return result.ok() ? absl::StrCat(result->exit_status, " ", result->output)
                       : std::string(result.status().message());
  };
  EXPECT_EQ(run("read x; echo $x; exit 3", {}), "3 input\n");
  EXPECT_THAT(run("while :; do :; done", {.processor_seconds = 1}), HasSubstr("more than 1 seconds of processor time"));
  EXPECT_THAT(run("while :; do echo y; done", {.output_bytes = 1000}), HasSubstr("more than the 1000 bytes"));
  EXPECT_THAT(run("exec >&- 2>&-; while :; do :; done", {.processor_seconds = 60, .wall_seconds = 1}),
              HasSubstr("more than 1 seconds"));
  const auto crashed = RunChild({"/proc/self/exe", "--gtest_also_run_disabled_tests",
                                 "--gtest_filter=HostileDocumentsTest.DISABLED_CrashInAChild"},
                                "", {.memory_bytes = size_t{1} << 46});
  EXPECT_EQ(crashed.status().code(), absl::StatusCode::kAborted) << crashed.status();
  EXPECT_THAT(std::string(crashed.status().message()), HasSubstr("ended by signal 6"));
  // No other process, nothing written.
  EXPECT_THAT(run("/bin/true; echo $?", {}), ::testing::Not(HasSubstr("0\n")));
  TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "written";
  EXPECT_THAT(run(absl::StrCat("echo x >", file.string(), " && echo written"), {}), HasSubstr("ended by signal 25"));
  EXPECT_EQ(ReadFile(file), "");
  EXPECT_FALSE(FindProgram("no-such-program").has_value());
}

}  // namespace
}  // namespace blazon::retrieval
