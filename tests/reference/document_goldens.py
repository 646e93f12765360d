"""Makes the documents of tests/goldens/documents and, with readers that are not ours, what they hold.

    python3 -m venv /tmp/documents && /tmp/documents/bin/pip install python-docx==1.2.0 python-pptx==1.0.2 openpyxl==3.1.5 \
        odfpy==1.4.1 EbookLib==0.20 reportlab==5.1.0 pypdf==7.1.1 lxml==6.1.3 pillow==13.0.0
    /tmp/documents/bin/python tests/reference/document_goldens.py

documents.json: for each file its title and author, and for each place its lines of text in order ("" where a format has no
places). A table's row is one line, its cells joined by " | ".
"""
import datetime
import email
import email.message
import email.policy
import json
import pathlib

import docx
import ebooklib
import lxml.html
import odf.dc
import odf.opendocument
import odf.table
import odf.teletype
import odf.text
import openpyxl
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pptx
import pypdf
from ebooklib import epub
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "documents"
ANSWERS = {}


def lines(text):
    return [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]


def answer(name, title, author, places):
    ANSWERS[name] = {"title": title, "author": author, "places": places}


def make_docx():
    document = docx.Document()
    document.core_properties.title = "Well manual"
    document.core_properties.author = "Ida Brønn"
    document.add_heading("The village well", 0)
    document.add_heading("Care", 1)
    paragraph = document.add_paragraph("The pump is ")
    paragraph.add_run("greased").bold = True
    paragraph.add_run(" every April\tand October.")
    document.add_paragraph("Check the chain", style="List Bullet")
    document.add_paragraph("Check the bucket", style="List Bullet")
    document.add_heading("Parts", 2)
    table = document.add_table(rows=3, cols=3)
    for row, cells in enumerate([("part", "number", "grams"), ("valve", "V-7", "310"), ("größe", "Ж-2", "12")]):
        for column, cell in enumerate(cells):
            table.cell(row, column).text = cell
    document.add_paragraph("Turn the crank", style="List Number")
    document.add_paragraph("Close the lid", style="List Number")
    document.add_heading("History", 1)
    document.add_paragraph("It was dug in 1874.")
    document.save(FOLDER / "well.docx")

    document = docx.Document(FOLDER / "well.docx")
    text = []
    for element in document.element.body:
        if element.tag.endswith("}p"):
            text += lines(docx.text.paragraph.Paragraph(element, document).text)
        elif element.tag.endswith("}tbl"):
            text += [" | ".join(cell.text for cell in row.cells) for row in docx.table.Table(element, document).rows]
    answer("well.docx", document.core_properties.title, document.core_properties.author, {"": text})


def make_pptx():
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[0])
    slide.shapes.title.text = "Ferry timetable"
    slide.placeholders[1].text = "Summer season"
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Departures"
    slide.placeholders[1].text = "Seven o'clock from the harbour\nNoon from the island"
    slide.notes_slide.notes_text_frame.text = "Mention the winter break."
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Fares"
    inches = pptx.util.Inches
    table = slide.shapes.add_table(2, 2, inches(1), inches(2), inches(4), inches(1)).table
    for row, cells in enumerate([("who", "price"), ("adult", "4")]):
        for column, cell in enumerate(cells):
            table.cell(row, column).text = cell
    slide.shapes.add_textbox(inches(1), inches(4), inches(4), inches(1)).text_frame.text = "Dogs travel free"
    deck.core_properties.title = "Ferry 2024"
    deck.core_properties.author = "Harbour office"
    deck.save(FOLDER / "ferry.pptx")

    deck = pptx.Presentation(FOLDER / "ferry.pptx")
    places = {}
    for number, slide in enumerate(deck.slides, 1):
        text = []
        for shape in slide.shapes:
            if shape.has_text_frame:
                text += lines(shape.text_frame.text)
            if shape.has_table:
                text += [" | ".join(cell.text for cell in row.cells) for row in shape.table.rows]
        if slide.has_notes_slide:
            text += ["Notes: " + slide.notes_slide.notes_text_frame.text]
        places[f"slide={number}"] = text
    answer("ferry.pptx", deck.core_properties.title, deck.core_properties.author, places)


def make_xlsx():
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Prices & stock"
    sheet.append(["item", "price", "in stock", "delivered", "opens"])
    sheet.append(["pump", 129.5, True, datetime.date(2024, 2, 29), datetime.time(9, 30)])
    sheet.append(["hose, 10 m", 0.1 + 0.2, False, datetime.date(1999, 12, 31), datetime.time(18, 0)])
    sheet.append(["кран", 7, None, datetime.datetime(2023, 5, 1, 14, 45), None])
    sheet = book.create_sheet("Notes")
    sheet["B2"] = "Order before noon."
    book.properties.title = "Shop"
    book.properties.creator = "Ada"
    book.save(FOLDER / "shop.xlsx")

    def shown(value):
        if value is None:
            return ""
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, datetime.datetime):
            return value.strftime("%Y-%m-%d" if value.time() == datetime.time() else "%Y-%m-%d %H:%M")
        if isinstance(value, datetime.time):
            return value.strftime("%H:%M")
        return "%.15g" % value if isinstance(value, (int, float)) else str(value)

    book = openpyxl.load_workbook(FOLDER / "shop.xlsx")
    rows = [[shown(value) for value in row] for row in book.worksheets[0].values]
    prices = [" | ".join(f"{name}: {value}" for name, value in zip(rows[0], row) if value) for row in rows[1:]]
    notes = [" | ".join(filter(None, map(shown, row))) for row in book.worksheets[1].values]
    answer("shop.xlsx", book.properties.title, book.properties.creator,
           {"sheet=Prices & stock": prices, "sheet=Notes": [row for row in notes if row]})


def make_odt():
    document = odf.opendocument.OpenDocumentText()
    document.meta.addElement(odf.dc.Title(text="Bee diary"))
    document.meta.addElement(odf.dc.Creator(text="Emil"))
    body = document.text
    body.addElement(odf.text.H(outlinelevel=1, text="Spring"))
    paragraph = odf.text.P(text="The hive was ")
    paragraph.addElement(odf.text.Span(text="opened"))
    paragraph.addText(" in March.")
    body.addElement(paragraph)
    items = odf.text.List()
    for text in ("queen seen", "two frames of brood"):
        item = odf.text.ListItem()
        item.addElement(odf.text.P(text=text))
        items.addElement(item)
    body.addElement(items)
    body.addElement(odf.text.H(outlinelevel=2, text="Weights"))
    table = odf.table.Table()
    for cells in (("hive", "kilograms"), ("north", "31"), ("süd", "28")):
        row = odf.table.TableRow()
        for text in cells:
            cell = odf.table.TableCell()
            cell.addElement(odf.text.P(text=text))
            row.addElement(cell)
        table.addElement(row)
    body.addElement(table)
    body.addElement(odf.text.P(text="Feed them in autumn."))
    document.save(FOLDER / "bees.odt")

    document = odf.opendocument.load(FOLDER / "bees.odt")
    text = []
    for element in document.text.childNodes:
        if element.tagName == "table:table":
            for row in element.getElementsByType(odf.table.TableRow):
                text.append(" | ".join(odf.teletype.extractText(cell) for cell in row.getElementsByType(odf.table.TableCell)))
        elif element.tagName == "text:list":
            text += ["- " + odf.teletype.extractText(item) for item in element.getElementsByType(odf.text.ListItem)]
        else:
            text += lines(odf.teletype.extractText(element))
    title = odf.teletype.extractText(document.meta.getElementsByType(odf.dc.Title)[0])
    creator = odf.teletype.extractText(document.meta.getElementsByType(odf.dc.Creator)[0])
    answer("bees.odt", title, creator, {"": text})


def make_epub():
    book = epub.EpubBook()
    book.set_identifier("blazon-test")
    book.set_title("Two tales")
    book.add_author("Nobody")
    chapters = []
    for number, (title, body) in enumerate([("The fox", "The fox ate &amp; slept."), ("The crow", "The crow saw a café.")], 1):
        page = epub.EpubHtml(title=title, file_name=f"text/chap {number}.xhtml")
        page.content = f"<h1>{title}</h1><p>{body}</p><p>The end of {number}.</p>"
        book.add_item(page)
        chapters.append(page)
    book.toc = chapters
    book.add_item(epub.EpubNcx())
    book.spine = chapters
    epub.write_epub(FOLDER / "tales.epub", book)

    book = epub.read_epub(FOLDER / "tales.epub")
    places = {}
    for number, (item, _) in enumerate(book.spine, 1):
        root = lxml.html.fromstring(book.get_item_with_id(item).get_content())
        places[f"chapter={number}"] = lines("\n".join(node.text_content() for node in root.iter("h1", "p")))
    answer("tales.epub", book.get_metadata("DC", "title")[0][0], book.get_metadata("DC", "creator")[0][0], places)


def make_pdf():
    page = canvas.Canvas(str(FOLDER / "pump.pdf"), pagesize=(420, 595))
    page.setTitle("Pump manual")
    page.setAuthor("The makers")
    page.setFont("Helvetica-Bold", 20)
    page.drawString(50, 540, "Maintenance")
    page.setFont("Helvetica", 11)
    text = page.beginText(50, 500)
    for line in ("The pump is greased in spring and once more before", "the first frost. Use grease number seven."):
        text.textLine(line)
    page.drawText(text)
    page.drawString(50, 440, "Wear gloves.")
    page.showPage()
    page.setFont("Helvetica", 11)
    page.drawString(50, 540, "Spare parts are kept for ten years.")
    page.showPage()
    picture = PIL.Image.new("L", (840, 1190), 255)
    font = PIL.ImageFont.load_default(60)
    PIL.ImageDraw.Draw(picture).text((80, 200), "INVOICE 4711\nPaid in full", fill=0, font=font)
    page.drawImage(ImageReader(picture), 0, 0, 420, 595)
    page.showPage()
    page.save()

    reader = pypdf.PdfReader(FOLDER / "pump.pdf")
    places = {f"page={number}": lines(one.extract_text()) for number, one in enumerate(reader.pages, 1)}
    answer("pump.pdf", reader.metadata.title, reader.metadata.author, {place: text for place, text in places.items() if text})


def make_locked_pdf():
    writer = pypdf.PdfWriter(clone_from=FOLDER / "pump.pdf")
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(FOLDER / "locked.pdf")


def make_eml():
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"] = "Jörg Müller <jorg@example.org>"
    message["To"] = "office@example.org"
    message["Date"] = datetime.datetime(2024, 3, 1, 8, 5, tzinfo=datetime.timezone.utc)
    message["Subject"] = "Käse für Freitag"
    message.set_content("Bitte zwei Kilo Käse bestellen.\nDanke!", charset="iso-8859-1", cte="quoted-printable")
    message.add_alternative("<p>Bitte <b>zwei</b> Kilo.</p>", subtype="html")
    message.add_attachment("item,grams\ncheese,2000\n".encode(), maintype="text", subtype="csv", filename="list.csv")
    message.add_attachment(b"\0\1\2", maintype="application", subtype="octet-stream", filename="firmware.bin")
    (FOLDER / "cheese.eml").write_bytes(message.as_bytes())

    message = email.message_from_bytes((FOLDER / "cheese.eml").read_bytes(), policy=email.policy.default)
    text = [f"From: {message['From']}", f"To: {message['To']}",
            f"Date: {message['Date'].datetime.strftime('%Y-%m-%d %H:%M %z')}", f"Subject: {message['Subject']}"]
    text += lines(message.get_body(("plain",)).get_content())
    for attachment in message.iter_attachments():
        text.append(f"Attachment: {attachment.get_filename()}")
        if attachment.get_filename().endswith(".csv"):
            names, *rows = [line.split(",") for line in attachment.get_content().split()]
            text += [" | ".join(f"{name}: {value}" for name, value in zip(names, row)) for row in rows]
    answer("cheese.eml", message["Subject"], "", {"": text})


FOLDER.mkdir(parents=True, exist_ok=True)
for make in (make_docx, make_pptx, make_xlsx, make_odt, make_epub, make_pdf, make_locked_pdf, make_eml):
    make()
(FOLDER / "documents.json").write_text(json.dumps(ANSWERS, indent=1, ensure_ascii=False) + "\n")
