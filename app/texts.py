"""Every word that visitors read, in English and Japanese, and which of the two a visitor gets."""

from __future__ import annotations

from typing import Literal

from starlette.requests import Request

from app import negotiation
from model.names import Notice

Language = Literal["en", "ja"]
LANGUAGES: dict[Language, str] = {"ja": "日本語", "en": "English"}  # each named in itself
COOKIE = "lang"

_TEXTS: dict[str, tuple[str, str]] = {
    # The page
    "title": ("Imaginary Cafeteria", "空想食堂"),
    "tagline": (
        "Name a dish that doesn’t exist, \nand we’ll bring you a picture of it.",
        "この世にない料理の名前をどうぞ。\n想像の一皿をお持ちします。",
    ),
    "skip": ("Skip to the order", "注文欄へ移動"),
    "languages": ("Language", "言語"),
    "label": ("What will you have?", "ご注文をどうぞ"),
    "placeholder": ("smoky beetroot ramen", "ピリ辛サーモンパフェ"),
    "hint": ("In English or Japanese, whatever you can think of.", "日本語でも英語でも。思いつくままに。"),
    "order": ("Order", "注文する"),
    "surprise": ("Surprise me", "おまかせ"),
    "plates": ("Plates", "皿数"),
    "served": ("At your table", "ご注文の品"),
    "menu": ("On today’s menu", "本日のお品書き"),
    "menu_note": (
        "A new menu every day. Pick one to order it.",
        "毎日替わります。選ぶとご注文になります。",
    ),
    "alt": ("{name}, picture {k} of {n}", "{name}（{n}皿中{k}皿目）"),
    "seed": ("No. {seed}", "{seed}番"),
    "save": ("Save", "保存"),
    "save_of": ("Save picture no. {seed} of {name}", "「{name}」{seed}番の絵を保存"),
    "link": ("Copy link", "リンクをコピー"),
    "copied": ("Copied", "コピーしました"),
    "taste": ("Play with it", "あそぶ"),
    "taste_of": ("Play with it: picture no. {seed} of {name}", "「{name}」{seed}番であそぶ"),
    "seed_note": (
        "The name and the number under a picture make the same picture again.",
        "料理名と絵の下の番号があれば、同じ絵をもう一度出せます。",
    ),
    "honest": (
        "None of these plates was ever cooked. A small neural network, a StackGAN, imagines each one "
        "from its name alone.",
        "ここに並ぶ皿は、どれも実際に作られたものではありません。小さなニューラルネットワーク（StackGAN）が、"
        "名前だけを手がかりに思い描いています。",
    ),
    "api": ("For programmers", "開発者の方へ"),
    "model": ("Model {version}", "モデル {version}"),
    "home": ("Back to the cafeteria", "食堂に戻る"),
    # What the page's script says
    "making": ("Making {name}…", "「{name}」を作っています…"),
    "ahead": (
        "Making {name}… Pictures before yours: {ahead}.",
        "「{name}」を作っています…先に{ahead}皿お待ちです。",
    ),
    "done": ("{name}: ready in {seconds} s.", "「{name}」できました（{seconds}秒）。"),
    "retrying": ("Trying again in {seconds} s.", "{seconds}秒後にもう一度試します。"),
    "again": ("Try again now", "今すぐもう一度"),
    "offline": (
        "The kitchen doesn’t answer. Is the connection all right?",
        "厨房から返事がありません。接続をご確認ください。",
    ),
    "spoilt": ("This one didn’t work out.", "この一皿はうまくできませんでした。"),
    # The seat at the counter
    "another": ("Another one", "別の一皿"),
    "is_it_new": ("Is it new?", "本当に新しい？"),
    "new": ("New?", "新しい？"),
    "is_it_new_of": ("Is picture no. {seed} of {name} new?", "「{name}」{seed}番は本当に新しい？"),
    "exists": ("“{name}” exists", "「{name}」は実在します"),
    "exists_note": (
        "The model has learnt from photographs of this very dish.",
        "モデルは、まさにこの料理の写真から学んでいます。",
    ),
    "by_name": ("Its name: {percent}% new", "名前の新しさ {percent}%"),
    "by_picture": ("Its picture: {percent}% new", "絵の新しさ {percent}%"),
    "by_name_note": (
        "Names that the model has seen, the nearest first, and how far they are (0 is the same).",
        "モデルが学んだ名前を近い順に。数字は距離です（0なら同じ）。",
    ),
    "by_picture_note": (
        "What is on the photographs whose colours and layout are nearest to the picture’s. Colours and layout "
        "only: they find a copy, but know nothing of food.",
        "色と配置がこの絵に近い写真の料理名です。比べているのは色と配置だけで、"
        "写しなら見つかりますが、料理のことはわかりません。",
    ),
    "novelty_note": (
        "The figures say how many of the things seen have a neighbour that is nearer to them than these are: at "
        "100%, all of them have.",
        "新しさは、学んだもののうち、これより近い仲間をもつものの割合です。100%なら、すべてがもっています。",
    ),
    "distance": ("distance", "距離"),
    "other_model": (
        "This link was made with model {model}. This is model {version}, so the picture may be another one.",
        "このリンクはモデル{model}で作られました。今のモデルは{version}なので、絵が違うかもしれません。",
    ),
    "number": ("No.", "番号"),
    "number_title": ("Plate number: the same one makes the same plate", "皿の番号。同じ番号なら同じ皿になります"),
    "at_random": ("random", "毎回変わる"),
    "keep_number": ("Use no. {seed} for the next order too", "次の注文も{seed}番にする"),
    "kept_number": (
        "No. {seed} is kept: other names now come on the same plate. Empty the box for new ones.",
        "{seed}番に決めました。別の名前も同じ皿に盛ります。空にすると毎回変わります。",
    ),
    "many_names": ("Several names at once", "いくつもの名前をまとめて"),
    "keys": ("Keys", "キー操作"),
    "keys_on": ("Single keys do this", "一文字のキーを使う"),
    "like_this": ("More like this", "これに似た皿"),
    "family": ("Family tree", "系図"),
    "first": ("first", "はじめ"),
    "back_to": ("Back to no. {number}", "{number}番に戻る"),
    "variation": ("Variation no. {number}", "似た皿、{number}番"),
    "other_children": ("Others like this", "ほかの似た皿"),
    "rename": ("Same plate, another name", "皿はそのまま、名前を変える"),
    "rename_note": ("It is redrawn as you type.", "打つそばから描き直します。"),
    "redraw": ("Redraw", "描き直す"),
    "ingredients": ("Ingredients", "材料"),
    "in_the_dish": ("In the dish", "入れたもの、抜いたもの"),
    "more_of": ("More {name}", "{name}を足す"),
    "less_of": ("Less {name}", "{name}を減らす"),
    "none_of": ("Leave {name} as it was", "{name}を元に戻す"),
    "any_word": ("Any word or dish (each gets a slider)", "好きな言葉や料理（つまみが付きます）"),
    "word_example": ("egg", "卵"),
    "add": ("Add", "足す"),
    "take": ("Take away", "引く"),
    "other_ingredients": ("Other ingredients", "ほかの材料"),
    "why": ("Why does it look so?", "なぜこう見える？"),
    "why_note": (
        "These are the pieces that the model reads. Switch one off, and you see what it did.",
        "モデルが読んでいる語片です。消してみると、その働きがわかります。",
    ),
    "piece_off": ("Switch “{piece}” off", "「{piece}」を読まない"),
    "piece_on": ("Switch “{piece}” on", "「{piece}」を読む"),
    "morph": ("Morph into another dish", "別の料理に変身"),
    "morph_example": ("chocolate cake", "チョコレートケーキ"),
    "morph_go": ("Morph", "変身"),
    "how_far": ("How far the morph has got", "変身の進み具合"),
    "step": ("{percent}% {name}", "{name} {percent}%"),
    "play": ("Watch it change", "変わるところを見る"),
    "stop": ("Stop", "止める"),
    "no_morph": ("Undo the morph", "変身をやめる"),
    "to_number": ("to no.", "番号"),
    "morph_note": (
        "Into another name, another plate number, or both.",
        "別の名前へ、別の番号の皿へ、または両方へ。",
    ),
    "elsewhere": ("Into another plate of the same dish", "同じ料理の別の皿へ"),
    "amount_of": ("How much {name}", "{name}の量"),
    "redrawn": ("{name}: redrawn.", "「{name}」描き直しました。"),
    "table": ("A table of names", "名前の表"),
    "table_names": ("Names, one a line (at most {most})", "料理名を一行に一つ（{most}つまで）"),
    "columns": ("Plates each", "皿数"),
    "first_seed": ("From no.", "最初の番号"),
    "lay_table": ("Lay the table", "並べる"),
    "table_note": (
        "A column shares its plate, a row its name. Pick a dish to play with it.",
        "縦は同じ皿、横は同じ名前です。選ぶとその一皿であそべます。",
    ),
    # What is kept
    "shelf": ("Your own dishes", "あなたの料理"),
    "shelf_note": ("Remembered in this browser only.", "このブラウザーにだけ残っています。"),
    "my_menu": ("My menu", "わたしのお品書き"),
    "print": ("Print", "印刷する"),
    "zip": ("Save all (zip)", "まとめて保存（zip）"),
    "latest": ("Menu and file take the latest {count}.", "お品書きと保存は新しい{count}皿です。"),
    "forget": ("Forget all", "すべて消す"),
    "forget_one": ("Forget {name}", "「{name}」を消す"),
    "forget_sure": ("Forget all your dishes?", "あなたの料理をすべて消しますか？"),
    "reopen": ("Open a saved picture", "保存した絵を開く"),
    "reopen_note": (
        "A picture saved here remembers its dish: choose it, or drop it on this page, and its dish opens.",
        "ここで保存した絵にはレシピが入っています。選ぶか、このページにドラッグ＆ドロップすると、その一皿が開きます。",
    ),
    "not_ours": (
        "This file is no picture saved here, or something has taken its recipe out.",
        "ここで保存した絵ではないか、途中でレシピが消えています。",
    ),
    "reopened_same": (
        "Welcome back. This model still makes exactly the same picture.",
        "おかえりなさい。このモデルは今も寸分違わず同じ絵を出します。",
    ),
    "reopened_alike": (
        "Welcome back. This model makes the same picture, within a shade that nobody sees.",
        "おかえりなさい。目に見えない差だけで、同じ絵です。",
    ),
    "reopened_other": (
        "Welcome back. The picture is another one now.",
        "おかえりなさい。今は別の絵になりました。",
    ),
    "reopened_model": ("Yours was made by model {model}.", "お持ちの絵はモデル{model}によるものです。"),
    # What each status means, in the documentation
    "status.303": ("To the page with the pictures, for forms.", "フォームには、絵の載ったページへ。"),
    "status.400": ("The body or the query cannot be read.", "本文やクエリーを読み取れません。"),
    "status.403": ("A browser sent this from another site.", "別のサイトのページから送られました。"),
    "status.404": (
        "Another model made what the address names, or this one has no index.",
        "アドレスの絵は別のモデルのものか、このモデルに索引がありません。",
    ),
    "status.406": ("Nothing that Accept names can be had.", "Acceptにある形式ではお出しできません。"),
    "status.408": ("The request did not arrive in time.", "リクエストが時間内に届きませんでした。"),
    "status.413": ("The body is larger than 64 KiB.", "本文が64 KiBを超えています。"),
    "status.415": ("Neither a form nor JSON.", "フォームでもJSONでもありません。"),
    "status.422": ("A field is missing or wrong.", "項目が足りないか、正しくありません。"),
    "status.429": ("This client has had its share for now.", "この接続元の一分あたりの枚数を超えました。"),
    "status.500": ("The picture could not be made.", "絵を作れませんでした。"),
    "status.503": (
        "The queue is full, or the server is starting or stopping.",
        "満杯か、開店・閉店の作業中です。",
    ),
    # Errors, on the page and in the API
    "error.empty_name": (
        "Which dish? Please write its name.",
        "料理の名前を書いてください。",
    ),
    "error.invalid_name": (
        "This name holds characters that cannot be read. Please write it in ordinary letters.",
        "読めない文字が含まれています。普通の文字で書いてください。",
    ),
    "error.missing_name": ("“name” is missing: the dish’s name.", "「name」（料理の名前）がありません。"),
    "error.invalid_n": ("“n” must be a whole number from 1 to {most}.", "「n」は1から{most}までの整数です。"),
    "error.invalid_seed": (
        "“seed” must be a whole number from 0 to {most}.",
        "「seed」は0から{most}までの整数です。",
    ),
    "error.invalid_size": ("“size” must be 64, 256 or 1024.", "「size」は64、256、1024のどれかです。"),
    "error.invalid_format": ("“format” must be one of {formats}.", "「format」は次のどれかです：{formats}"),
    "error.invalid_path": (
        "“path” is up to {depth} numbers from 1 to {most} with full stops between them, such as 3.1.",
        "「path」は1から{most}までの数を点でつないだものです（{depth}個まで）。例：3.1",
    ),
    "error.invalid_off": (
        "“off” lists word pieces of the name, counted from 0 to {most} here, such as 0,2.",
        "「off」は名前の語片の番号（ここでは0から{most}）を並べたものです。例：0,2",
    ),
    "error.invalid_mix": (
        "“mix” is weight:name, up to {most} times, with weights from -{weight} to {weight} in hundredths, "
        "such as -0.5:egg.",
        "「mix」は「重み:名前」で{most}個まで。重みは-{weight}から{weight}まで、百分の一きざみです。例：-0.5:卵",
    ),
    "error.no_target": (
        "“to” or “to_seed” is missing: a name or a seed to morph into.",
        "「to」か「to_seed」（変身先の名前か番号）がありません。",
    ),
    "error.invalid_t": (
        "“t” must be a number from 0 to 1, such as 0.4.",
        "「t」は0から1までの数です。例：0.4",
    ),
    "error.invalid_model": (
        "“model” is a model’s version: 12 digits from 0 to f.",
        "「model」はモデルの版で、0からfまでの12桁です。",
    ),
    "error.other_model": (
        "This picture was made by model {model}. Model {version} is here now and would make another one; the same "
        "address without “model” shows it.",
        "この絵はモデル{model}が描いたものです。今のモデルは{version}で、同じ絵にはなりません。"
        "アドレスから「model」を除くと、今のモデルの絵が出ます。",
    ),
    "error.no_index": (
        "This checkpoint has no index of what its model has seen.",
        "このチェックポイントには、学んだものの索引がありません。",
    ),
    "error.unknown_field": (
        "There is no such field. Known are name, n, seed, size, path, off, mix, to, to_seed, t and format.",
        "そのような項目はありません。使えるのはname、n、seed、size、path、off、mix、to、to_seed、t、formatです。",
    ),
    "error.missing_prompt": (
        "“prompt” is missing: the dish’s name.",
        "「prompt」（料理の名前）がありません。",
    ),
    "error.invalid_image_size": ("“size” must be one of {sizes}.", "「size」は次のどれかです：{sizes}"),
    "error.invalid_response_format": (
        "“response_format” must be url or b64_json.",
        "「response_format」はurlかb64_jsonです。",
    ),
    "error.invalid_output_format": ("“output_format” must be png.", "「output_format」はpngだけです。"),
    "error.unknown_parameter": (
        "There is a parameter that this server does not know. "
        "It takes prompt, n, size, response_format, output_format and seed.",
        "不明なパラメーターがあります。使えるのはprompt、n、size、response_format、output_format、seedです。",
    ),
    "error.invalid_menu": (
        "“dish” is the query of a picture’s address, 1 to {most} times.",
        "「dish」は絵のアドレスの?より後で、1から{most}個までです。",
    ),
    "error.empty_menu": (
        "Your menu is empty. Order something first.",
        "お品書きはまだ空です。まずは何かご注文を。",
    ),
    "error.full_mix": (
        "{most} ingredients at most. Take one out first.",
        "材料は{most}つまでです。どれかを外してください。",
    ),
    "error.no_room": (
        "There is no more room for {name}.",
        "{name}はこれ以上足せません（引けません）。",
    ),
    "error.too_many_names": ("At most {most} names, please.", "名前は{most}つまでです。"),
    "error.repeated_field": ("A field is given more than once.", "同じ項目が二度指定されています。"),
    "error.not_an_object": (
        'The JSON must be an object, such as {{"name": "smoky beetroot ramen"}}.',
        'JSONはオブジェクトにしてください。例：{{"name": "ピリ辛サーモンパフェ"}}',
    ),
    "error.invalid_json": (
        "The body is not valid JSON: check its syntax, its depth and the length of its numbers.",
        "本文が正しいJSONではありません。構文、入れ子の深さ、数値の長さをご確認ください。",
    ),
    "error.invalid_form": ("The form’s parts cannot be told apart.", "フォームの区切りを読み取れません。"),
    "error.unexpected_file": (
        "A field holds a file where text is expected.",
        "文字の項目にファイルが入っています。",
    ),
    "error.not_utf8": (
        "The text is not UTF-8. Please send it as UTF-8, not as Shift_JIS or another encoding.",
        "文字コードがUTF-8ではありません。Shift_JISなどではなく、UTF-8で送ってください。",
    ),
    "error.unsupported_media_type": (
        "Send a form (multipart/form-data or application/x-www-form-urlencoded) or application/json.",
        "フォーム（multipart/form-data、application/x-www-form-urlencoded）かapplication/jsonで送ってください。",
    ),
    "error.not_acceptable": ("This can be had as {offers}.", "お出しできる形式：{offers}"),
    "error.body_too_large": ("The body is larger than {most} bytes.", "本文が{most}バイトを超えています。"),
    "error.cross_site": (
        "Forms are taken from this site’s own pages only.",
        "フォームはこのサイトのページからのみ送信できます。",
    ),
    "error.queue_full": (
        "The kitchen is full just now. Please come back in a moment.",
        "ただいま厨房が満杯です。少し経ってからもう一度どうぞ。",
    ),
    "error.waited_too_long": (
        "The kitchen did not get round to this in time. Please order again in a moment.",
        "厨房が込み合い、順番が回ってきませんでした。しばらくしてから、もう一度ご注文ください。",
    ),
    "error.too_many_pictures": (
        "That is more than {most} pictures in a minute. Please take a breath and come back.",
        "一分間に{most}枚を超えました。少し間をおいてから、またお越しください。",
    ),
    "error.too_slow": (
        "The request did not arrive within {seconds} seconds.",
        "リクエストが{seconds}秒以内に届きませんでした。",
    ),
    "error.closing": (
        "We are just closing. Please try again shortly.",
        "ただいま閉店作業中です。のちほどどうぞ。",
    ),
    "error.not_ready": (
        "We are just opening. Please wait a moment.",
        "ただいま開店準備中です。少々お待ちください。",
    ),
    "error.not_found": ("There is nothing here by that name.", "お探しのページは見つかりません。"),
    "error.method_not_allowed": (
        "This address takes only {allowed}.",
        "このアドレスで使えるのは{allowed}だけです。",
    ),
    "error.bad_request": ("The request cannot be read.", "リクエストを読み取れません。"),
    "error.failed": (
        "Something went wrong in the kitchen. It has been noted; please try again.",
        "厨房で問題が起きました。記録しましたので、もう一度お試しください。",
    ),
    # Errors that pages, whose boxes have other names than the API's fields, put in words of their own
    "page.invalid_seed": (
        "The number must be a whole number from 0 to {most}.",
        "番号は0から{most}までの整数です。",
    ),
}

# What the scripts of every page, of the order form and of the counter say.
PAGE_TEXTS = ("offline", "not_ours", "retrying", "error.queue_full")
FORM_TEXTS = (
    "alt", "seed", "save_of", "taste_of", "is_it_new_of", "keep_number", "kept_number", "making", "ahead", "done",
    "spoilt", "error.empty_name", "forget_one", "forget_sure",
)  # fmt: skip
COUNTER_TEXTS = (
    "making", "redrawn", "reopened_same", "reopened_alike", "reopened_other", "reopened_model",
)  # fmt: skip


def text(language: Language, key: str, **values: object) -> str:
    """The words for `key`, with `{placeholders}` filled where values are given."""
    words = _TEXTS[key][language == "ja"]
    return words.format(**values) if values or key.startswith("error.") else words


def problem(language: Language, code: str, **values: object) -> str:
    """What an error is called on a page."""
    key = f"page.{code}"
    return text(language, key if key in _TEXTS else f"error.{code}", **values)


def notice(language: Language, notice: str) -> str:
    """A remark of the model's side, which may know both languages."""
    return notice.message(language) if isinstance(notice, Notice) else notice


def of(request: Request) -> Language:
    """The visitor's language: by link (?lang=), else by cookie, else by the browser's own preference."""
    for wanted in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        for language in LANGUAGES:
            if wanted == language:
                return language
    liked = negotiation.language(request.headers.get("accept-language"), list(LANGUAGES))
    return "ja" if liked == "ja" else "en"
