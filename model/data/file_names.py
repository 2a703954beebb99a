"""Extracts dish names from file and folder names, ignoring names written by cameras and programs.

A file counts as named by a person if its name contains words: readable letters, in any script, that are not a term for
a picture ("IMG", "写真"), a device or a site. Dates, times, hashes, identifiers and sizes are not words.
"""

import html
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import PurePath
from urllib.parse import unquote

from model.words import words

# Endings of pictures, those that only other programs read included: `model.data.layouts` says which are read.
ENDINGS = (
    "jpg jpeg jpe jfif jif pjpeg mpo jp2 j2k jpf jpx jxl png apng webp avif heic heics heif heifs hif tif tiff bmp dib"
    " gif dng cr2 cr3 crw nef nrw arw srf sr2 raf orf rw2 raw rwl pef ptx srw x3f 3fr fff iiq mef mos mrw dcr kdc erf"
    " gpr psd"
).split()  # fmt: skip

# Words for pictures and for what makes, keeps or sends them. A name of nothing else is no dish's.
_PICTURE = frozenset(
    """
    img imgs imag imgp image images imagen imagenes imagem imagens immagine immagini afbeelding bild bilder kep
    obraz zdjecie resim gambar hinh anh foto fotos fotografia photo photos photograph photographs pic pics pict
    picture pictures snap snapshot snapshots shot shots selfie wallpaper collage panorama pano burst portrait
    hdr night cinematic cover dsc dscf dscn dcim pxl mvimg cimg kimg sdim hpim gopr vid vlc mov mp clip video
    frame still gif animation win pro vlcsnap mceclip fotor beauty rp replay rpreplay recording screenshot
    screenshots screen screencap capture captured captura capturas ecran schermata pantalla tela bildschirmfoto
    schermafbeelding skarmbild skarmavbild skjermbilde zrzut ekranu snimek screenshotsnip snip scan scans
    scanned scanner camscanner file files datei dateien fichier archivo arquivo document documents doc docs
    untitled unnamed unknown noname nameless new neu folder folders directory album albums gallery camera roll
    import imported download downloads downloaded upload uploads uploaded received sent saved shared share
    export exports exported original originals edited edit edits final draft version copy copie copia kopie
    kopia kopija kopiya backup old large medium small big mini full size fullsize fullsizerender render rendered
    resized resize scaled thumb thumbs thumbnail thumbnails preview previews cropped crop compressed optimized
    enhanced enhance remastered converted processed output out result temp tmp cache data dataset sample samples
    test train validation val web mobile desktop hq hd uhd px dpi jpg jpeg png webp heic raw jfif maxresdefault
    hqdefault mqdefault sddefault hqresdefault oardefault oip clipimage pasted graphic pastedgraphic attachment
    attach inline media asset assets content item object whatsapp instagram insta snapinsta ig igshid facebook
    fb messenger creation threads twitter tiktok snapchat pinterest tumblr reddit imgur giphy flickr signal
    telegram line linecamera kakaotalk kakao talk wechat weixin qq mmexport microsignal microsoft viber skype
    discord slack teams zoom zalo imessage icloud iphone ipad ipod ios android samsung galaxy xiaomi redmi
    huawei oppo vivo oneplus pixel pixels canon nikon sony olympus pentax leica casio kodak ricoh gopro dji
    insta360 lumix panasonic fujifilm fuji hasselblad sigma dslr snapseed vsco vscocam lightroom lrm photoshop
    picsart inshot facetune beautyplus meitu xt pt polish canva capcut photogrid prisma dropbox onedrive google
    gdrive takeout synology synophoto synofile nextcloud picasa pexels unsplash pixabay shutterstock stock
    istock istockphoto getty gettyimages adobe adobestock depositphotos dreamstime alamy freepik vecteezy
    rawpixel foap dall midjourney comfyui chatgpt gemini generated diffusion sdxl food foods dish dishes meal
    meals recipe recipes cuisine comida nourriture essen cibo menu premium heif eos ilce
    """.split()
)
# Words that tell nothing without others: they stand in the names that programs make of words.
_EMPTY = frozenset(
    """
    a an the of in on at to from for by with and or my your our this that is was am pm no nr num number page
    part le la les un une de des du d l el los las y e o do da dos das em del al di il lo i gli der die ein eine
    von um vom alle kl klo und den dem uhr nachm vorm och av fra til na z w v january february march april may
    june july august september october november december jan feb mar apr jun jul aug sep sept oct nov dec monday
    tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun day days week month year
    time today yesterday
    """.split()
)
# The same in scripts that put no spaces between words, or few; what a number counts goes with the number.
_PICTURE_ELSEWHERE = re.compile(
    "[のしたな]*(?=画像|写真)|スクリーンショット|スクショ|写真|寫真|画像|映像|動画|ファイル|フォルダー?|アルバム|カメラロール|カメラ|"
    "ダウンロード|アップロード|受信|送信|保存済み|保存|編集済み|編集|加工済み|加工|最近の項目|最近|項目|新しい|新規|"
    "無題|名称未設定|タイトルなし|名前なし|のコピー|コピー|複製|スキャン|縮小|拡大|料理|食べ物|午前|午後|お気に入り|ライン|"
    "截屏|图片|圖片|照片|相片|截图|截圖|屏幕|螢幕|快照|微信|未命名|新建|文件夹|文件|下载|下載|副本|相机|相機|相册|扫描|美图|食物|美食|"
    "스크린샷|무제|사진|이미지|그림|카카오톡|화면|캡처|캡쳐|제목|없음|파일|새|폴더|다운로드|복사본|사본|오전|오후|갤러리|앨범|스캔|음식|요리|"
    "снимок|экрана|экран|изображение|изображения|фото|фотография|фотографии|картинка|скриншот|файл|без названия|"
    "новая папка|папка|копия|безымянный|знімок|зображення|загрузки|скан|"
    "ภาพถ่ายหน้าจอ|ภาพหน้าจอ|ภาพถ่าย|รูปภาพ|ภาพ|รูป|ไฟล์|"
    "لقطة الشاشة|لقطة شاشة|لقطة|الشاشة|صورة|صور|ملف|"
    "फ़ोटो|फोटो|स्क्रीनशॉट|चित्र|"
    r"(?<=\d)\s*(年|月|日|時|分|秒|枚目|枚|番目|番|号|回目|回|点|년|월|일|시|분|초|번|장|г|ч|мин)|第(?=\s*\d)",
    re.IGNORECASE,
)

# What programs write between words, or instead of them.
_MACHINE = re.compile(
    r"""
      [0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}                               # UUID
    | (?<![^\W_]) [0-9a-f]{16,} (?![^\W_])                                      # a hash
    | (?<![^\W_]) (?=[0-9a-f]*\d[0-9a-f]*\d) (?=[0-9a-f]*[a-f]+\d+[0-9a-f]*[a-f]|[0-9a-f]*\d+[a-f]+\d) [0-9a-f]{7,15}
      (?![^\W_])                                                                # the beginning of one
    | (?<!\d) (?:19|20)\d\d ([-_. :年/]?) (?:0?[1-9]|1[0-2]) [-_. :月/]? (?:[0-2]\d|3[01]|[1-9](?!\d)) 日?
      (?: [-_ T.,at]* (?:午前|午後|오전|오후)? \s? \d{1,2} [-_.:h時]? [0-5]\d
          (?: [-_.:m分]? [0-5]\d (?: [-_.]? \d{1,4} )? )? 秒? (?: \s? [ap]m )? (?!\d) )?
      (?!\d)                                                                    # a date, perhaps with its time
    | (?<!\d) (?:[0-2]?\d|3[01]) ([-_.]) (?:0?[1-9]|1[0-2]) \2 (?:19|20)\d\d (?!\d)
    | (?<![^\W_]) \d{2,5} [x×] \d{2,5} (?![^\W_])                               # a size
    | (?<![^\W_]) \d{2,4} (?:px|w|dpi) (?![^\W_])
    | (?<![^\W_]) [qw] \d{2,4} (?![^\W_])
    | \d+h\d+m\d+s\d*
    | @ \d x (?![^\W_])
    | (?<![^\W_]) \d{5,} (?![^\W_])                                             # a number that counts nothing
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MARK = "\0"  # stands for what `_MACHINE` has found
_TAIL = frozenset("copy copie copia kopie edited edit scaled thumb thumbnail resized cropped crop コピー".split())

# " (2)" of file managers and "copy" of macOS and Windows, after the second photo of one name.
_COPY = re.compile(
    r"(\s*[(（\[［]\s*\d+\s*[)）\]］]|\s*-\s*(copy|コピー|kopie|copie|copia|副本|복사본)|\s+copy(\s+\d+)?|\s?のコピー(\s*\d+)?|~\d+"
    r"|\s?[(（](copy|コピー|edited|編集済み)[)）])+$",
    re.IGNORECASE,
)
_COPY_OF = re.compile(r"^(copy|copie|copia|kopie) (\(\d+\) )?(of|de|di|von|van|av) ", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?P<base>.*?\w.*?)[\s\-,.:#№]*(?:(?<=\s)(?:no|nr|n°|その|第)\.?\s*)?(?P<number>\d{1,4})\s*(?:枚目|番|回目)?$",
    re.IGNORECASE,
)
_LETTER = re.compile(r"(?P<base>.*\w)[\s\-]+(?P<letter>[a-z])$", re.IGNORECASE)
_LEADING = re.compile(r"[#(]?(?P<number>\d{1,4})(?:\s*[.):、]\s*|\s+(?:-\s+)?)(?P<rest>.*[^\W\d_].*)$")
_ENDING = re.compile(rf"\.({'|'.join(ENDINGS)})(?![A-Za-z]).*$|\.({'|'.join(ENDINGS)})$", re.IGNORECASE | re.DOTALL)
_OTHER_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_TITLE = re.compile(r"(?:[A-Z][a-z]{2,}){2,}")
# Design rule for Camera File system (JEITA CP-3461): four characters and four digits; folders the other way round.
_DCF = re.compile(r"[A-Z0-9_]{4}\d{4}|\d{3}[A-Z0-9_]{5}")
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
# Who took a photograph, on two sites that write it into the file's name.
_AUTHOR = re.compile(r"^pexels[-_ ].*\d{4}|[-_ ]unsplash$", re.IGNORECASE)


def dish_names(paths: Sequence[PurePath]) -> list[str]:
    """The name of the dish on each photograph, "" if neither file nor folder has one.

    Files numbered in sequence ("beef stew 1", "beef stew 2") are photographs of one dish; a number without a sequence
    belongs to the name ("Chicken 65"). Unnamed photographs take the name of their folder, unless others in it have
    names that differ from the folder's.

    Args:
        paths: relative to the folder of photographs, whose own name is not used.
    """
    own = _without_rows([read(path.name) for path in paths])
    folders = [*dict.fromkeys(folder for path in paths for folder in path.parents[:-1])]
    named = dict(zip(folders, _without_rows([read(f"{folder.name}.jpg") for folder in folders]), strict=True))
    others: dict[PurePath, set[str]] = defaultdict(set)
    for path, name in zip(paths, own, strict=True):
        if name:
            others[path.parent].add(spelling(name))

    def of_folder(path: PurePath) -> str:
        name = next((named[folder] for folder in path.parents[:-1] if named[folder]), "")
        return name if all(spelling(name) in other for other in others[path.parent]) else ""

    return [name or of_folder(path) for path, name in zip(paths, own, strict=True)]


def read(file_name: str) -> str:
    """The words in a file name, with single spaces, without its extension and additions by programs; "" if there are
    none."""
    text = unicodedata.normalize("NFC", without_ending(file_name))
    if _AUTHOR.search(text) or not has_words(text):
        return ""
    return _words_of(text)


def without_ending(file_name: str) -> str:
    """A file name without its picture extension and what browsers leave after it ("?w=640", "_large")."""
    cut = _ENDING.sub("", file_name)
    return cut if cut != file_name else _OTHER_ENDING.sub("", file_name)


def has_words(text: str) -> bool:
    """Returns whether a text has words other than terms for a picture, its size, its maker or its date."""
    text = unicodedata.normalize("NFKC", _unescaped(text))
    elsewhere = _PICTURE_ELSEWHERE.sub(" ", _MACHINE.sub(f" {_MARK} ", text))
    if any(unicodedata.category(c) == "So" for c in elsewhere):  # emoji
        return True
    if any(_other_script(run) for run in re.findall(r"[^\W\d_]+", elsewhere)):
        return True
    plain = text.strip().replace(" ", "_")
    if _DCF.fullmatch(plain) and plain[:4].strip("_").casefold() not in _food():
        return False
    digits = sum(c.isdigit() for c in text)
    if "&" in text and not digits:  # "PB&J"
        return True
    tokens = _TOKEN.findall(elsewhere)
    identifiers = any(map(_identifier, tokens)) or len(tokens) < len(_TOKEN.findall(text))
    return any(_readable(token, digits, identifiers) for token in tokens if not _identifier(token))


def spelling(name: str) -> str:
    """A key that is equal for all names of one dish, ignoring word separators and numbering."""
    text = unicodedata.normalize("NFKC", name).casefold()
    bare = "".join(c for c in text if c.isalpha() or unicodedata.category(c) in ("Mn", "Mc", "So"))
    return bare or text


def _unescaped(text: str) -> str:
    """Decodes escaped characters: %20 from URLs, &amp; from HTML, #U30e9 from unzip."""
    if re.search("%[0-9A-Fa-f]{2}", text) and "\ufffd" not in (decoded := unquote(text)):
        text = decoded
    text = re.sub("#U([0-9A-Fa-f]{4})", lambda code: chr(int(code[1], 16)), text)
    return html.unescape(text)


def _words_of(text: str) -> str:
    text = _unescaped(text)
    escaped = " " in text.strip()
    text = re.sub("[①-⑳]", lambda number: unicodedata.normalize("NFKC", number[0]), text)
    text = re.sub("[_＿\u3000]", " ", _MACHINE.sub(f" {_MARK} ", text))
    text = re.sub(rf"[-.,\s]*{_MARK}[-.,\s]*", f" {_MARK} ", text)
    if "+" in text and not escaped:
        text = text.replace("+", " ")
    bare = text.replace(_MARK, "").strip()
    if " " not in bare:  # hyphens or dots are what separates words here
        text = re.sub(r"[-‐‑–—]+|(?<=[^\W\d])\.(?=[^\W\d])", " ", text)
    if _TITLE.fullmatch(bare):
        text = re.sub("(?<=[a-z])(?=[A-Z])", " ", text)
    text = " ".join(text.split())
    while (shorter := _trimmed(_COPY_OF.sub("", _COPY.sub("", text)).strip())) != text:
        text = shorter
    return " ".join(text.replace(_MARK, " ").split())


def _trimmed(text: str) -> str:
    """Strips what programs put before and after the words."""
    tokens = text.split(" ")
    while len(tokens) > 1 and (tokens[-1] in (_MARK, "-") or tokens[-1].casefold().strip("()") in _TAIL):
        tokens.pop()
    for at in range(1, len(tokens)):  # "pizza 2000614 1280": what follows an identifier belongs to it
        if tokens[at] == _MARK and all(t == _MARK or t.isdigit() or len(t) == 1 for t in tokens[at:]):
            tokens = tokens[:at]
            break
    while len(tokens) > 1 and tokens[0] in (_MARK, "-"):
        tokens.pop(0)
    return " ".join(tokens)


def _without_rows(names: Sequence[str]) -> list[str]:
    """The names without numbers and letters that only distinguish photographs of one dish."""
    names = [*names]
    leading = [_LEADING.match(name) for name in names]
    counted = [match["number"] for match in leading if match]
    named = sum(map(bool, names))
    listed = len(counted) >= 3 and 2 * len(counted) > named and len(set(counted)) > 0.8 * len(counted)
    widths = {len(number) for number in counted if number.startswith("0")}  # "01" to "24", and "7 Up cake" among them
    for at, match in enumerate(leading):
        if match and has_words(match["rest"]) and (len(match["number"]) in widths or (listed and not widths)):
            names[at] = match["rest"].strip()

    numbered = [_NUMBER.match(name) if name else None for name in names]
    bare = {spelling(name) for name, match in zip(names, numbered, strict=True) if name and not match}
    rows: dict[str, set[int]] = defaultdict(set)
    for match in filter(None, numbered):
        rows[spelling(match["base"])].add(int(match["number"]))
    for at, match in enumerate(numbered):
        if match and has_words(match["base"]):
            key, number = spelling(match["base"]), match["number"]
            if _row(rows[key], key in bare) or number.startswith("0") or number == "1":
                names[at] = match["base"].strip(" -,.:#")

    lettered = [_LETTER.match(name) for name in names]
    letters: dict[str, set[str]] = defaultdict(set)
    for match in filter(None, lettered):
        letters[spelling(match["base"])].add(match["letter"].casefold())
    for at, match in enumerate(lettered):
        if match and {"a", "b"} <= letters[spelling(match["base"])]:
            names[at] = match["base"]
    return names


def _row(numbers: set[int], with_the_first: bool) -> bool:
    """Returns whether numbers form a sequence of photographs; `with_the_first`: there is also one without a number."""
    if with_the_first and min(numbers) <= 3:
        return True
    return len(numbers) > 1 and (min(numbers) <= 3 or any(n + 1 in numbers for n in numbers))


@cache
def _food() -> frozenset[str]:
    """English words for food."""
    eaten = (word for role in ("ingredient", "form") for word in words(role))
    return frozenset(w for word in eaten for w in word.en.split() if len(w) > 2) - _PICTURE - _EMPTY


def _other_script(run: str) -> bool:
    """Returns whether letters are a word in a non-Latin script; in an alphabet a single letter is not."""
    scripts = {unicodedata.name(letter, "LATIN").split()[0] for letter in run}
    return not scripts <= {"LATIN", "MODIFIER"} and (len(run) > 1 or not scripts & {"CYRILLIC", "GREEK", "ARABIC"})


def _identifier(token: str) -> bool:
    """Returns whether a token mixes letters and digits, or upper and lower case, as no word does."""
    runs = re.findall(r"[^\W\d_]+|\d+", token)
    if len(runs) >= 3 and len(token) >= 6:
        return not any(len(run) >= 5 and (run.islower() or run.istitle()) for run in runs if not run.isdigit())
    parts = _CAMEL.findall(token)
    return len(token) >= 8 and len(parts) > 3 and len(token) / len(parts) < 3


def _readable(token: str, digits: int, identifiers: bool) -> bool:
    """Returns whether a token in Latin letters, perhaps with digits at one end, could be part of a dish name."""
    return any(_word(run, token, digits, identifiers) for run in re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", token))


def _word(run: str, token: str, digits: int, identifiers: bool) -> bool:
    plain = _bare(run.casefold())
    if plain in _food() or plain.removesuffix("s") in _food():
        return True
    if len(set(plain)) < 2 or plain in _PICTURE or plain in _EMPTY:
        return False
    parts = _CAMEL.findall(plain if run.islower() or run.isupper() else _bare(run))
    if all(len(part) == 1 or part.casefold() in _PICTURE | _EMPTY for part in parts):
        return False
    vowels = sum(c in "aeiouy" or ord(c) > 127 for c in plain) + sum(ord(c) > 127 for c in run)
    if not vowels:
        return len(plain) <= 5 and digits < 4 and not identifiers and len(plain) > 2
    if len(plain) == 2:
        return plain != run.casefold() or digits <= 2  # "bò", "7up"
    if identifiers and not (run.islower() or run.istitle() or run.isupper()):
        return False
    # "abc123": a few letters that a number hangs on are a series of something.
    return len(plain) > 3 or not re.fullmatch(r"\w+?\d{3,}", token)


def _bare(text: str) -> str:
    """Strips accents."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def joined(names: Iterable[tuple[str, int]]) -> str:
    """Lists names with the number of their photographs, in one line."""
    return " · ".join(name if count == 1 else f"{name} ×{count}" for name, count in names)
