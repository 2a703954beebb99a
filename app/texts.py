"""All text that visitors read, in every language, and the choice of a visitor's language."""

from __future__ import annotations

import re

from starlette.requests import Request

from app import negotiation
from model.languages import DEFAULT, LANGUAGES, Language, by_language
from model.names import Notice

COOKIE = "lang"

# Each in the order of LANGUAGES.
_TEXTS: dict[str, tuple[str, ...]] = {
    # The page
    "title": ("Imaginary Cafeteria", "空想食堂"),
    "tagline": (
        "Name a dish that doesn’t exist, \nand we’ll bring you a picture of it.",
        "この世にない料理の名前をどうぞ。\n想像の一皿をお持ちします。",
    ),
    "skip": ("Skip to the order", "注文欄へ移動"),
    "skip_main": ("Skip to the content", "本文へ移動"),
    "languages": ("Language", "言語"),
    "label": ("What will you have?", "ご注文をどうぞ"),
    "placeholder": ("smoky beetroot ramen", "ピリ辛サーモンパフェ"),
    "hint": ("In English or Japanese. Anything goes.", "日本語でも英語でも。思いつくままに。"),
    "order": ("Order", "注文する"),
    "surprise": ("Surprise me", "おまかせ"),
    "plates": ("Plates", "皿数"),
    "served": ("At your table", "ご注文の品"),
    "menu": ("Today’s menu", "本日のお品書き"),
    "menu_note": (
        "New every day. Pick one to order it.",
        "毎日替わります。選ぶとそのまま注文できます。",
    ),
    "alt": ("{name}, picture {k} of {n}", "{name}（{n}皿中{k}皿目）"),
    "seed": ("No. {seed}", "No. {seed}"),
    "save": ("Save", "保存"),
    "save_of": ("Save picture no. {seed} of {name}", "「{name}」No. {seed}の絵を保存"),
    "link": ("Copy link", "リンクをコピー"),
    "copied": ("Link copied", "リンクをコピーしました"),
    "taste": ("Play with it", "あそぶ"),
    "taste_of": ("Play with it: picture no. {seed} of {name}", "「{name}」No. {seed}であそぶ"),
    "seed_note": (
        "The same name and number always bring the same picture.",
        "料理名とNo.が同じなら、いつでも同じ絵が出てきます。",
    ),
    "honest": (
        "None of these dishes was ever cooked. A small neural network, a StackGAN, imagines each one "
        "from its name alone.",
        "どの皿も、実際に作られたものではありません。小さなニューラルネットワーク（StackGAN）が、"
        "名前だけを手がかりに思い描いています。",
    ),
    "api": ("For programmers", "開発者の方へ"),
    "model": ("Model {version}", "モデル {version}"),
    "home": ("Back to the cafeteria", "食堂に戻る"),
    # What the page's script says
    "making": ("Making {name}…", "「{name}」を作っています…"),
    "ahead": (
        "Making {name}… {ahead} pictures before yours.",
        "「{name}」を作っています…先に{ahead}皿を作っています。",
    ),
    "done": ("{name}: ready.", "「{name}」できました。"),
    "retrying": ("Trying again in {seconds} s…", "{seconds}秒後にもう一度試します…"),
    "again": ("Try again now", "今すぐもう一度"),
    "offline": (
        "The kitchen doesn’t answer. Check your connection.",
        "厨房から返事がありません。接続をご確認ください。",
    ),
    "spoilt": ("This one didn’t work out.", "この一皿はうまくできませんでした。"),
    "several_lines": (
        "That was {count} dishes. Compare them side by side?",
        "{count}品あるようです。並べてくらべますか？",
    ),
    "cut": ("Only the first {most} characters fit.", "入るのは{most}文字までです。"),
    "read_as": ("Read as: {title}", "このように読みました：{title}"),
    # One dish on the plate
    "heart": ("Keep", "残す"),
    "heart_of": ("Keep picture no. {seed} of {name}", "「{name}」No. {seed}を残す"),
    "share": ("Share", "共有"),
    "enlarged_size": ("{size} px (enlarged from {own})", "{size} px（{own}から拡大）"),
    "previous_plate": ("Previous plate", "前の皿"),
    "next_plate": ("Next plate", "次の皿"),
    "undo": ("Undo", "元に戻す"),
    "redo": ("Redo", "やり直す"),
    "compare": ("Compare with before (hold)", "前の皿とくらべる（長押し）"),
    "order_own": ("Order a dish of your own", "あなたも一皿どうぞ"),
    "another": ("Another plate", "別の一皿"),
    "is_it_new": ("Is it new?", "この世にない？"),
    "close": ("Close", "閉じる"),
    "exists": ("“{name}” exists", "「{name}」は実在します"),
    "exists_note": (
        "The model has learnt from photographs of this very dish.",
        "モデルは、まさにこの料理の写真から学んでいます。",
    ),
    "by_name": ("Its name: {percent}% new", "名前の新しさ {percent}%"),
    "by_picture": ("Its picture: {percent}% new", "絵の新しさ {percent}%"),
    "by_name_note": (
        "The nearest names in the training dishes, with their distance (0 is the same).",
        "学習した料理のうち、名前の近いもの。数字は距離です（0なら同じ）。",
    ),
    "by_picture_note": (
        "What the photographs nearest in colour and layout show. That finds a copy, but knows nothing of food.",
        "色と配置がこの絵に近い写真の料理名です。丸写しなら見つかりますが、料理のことはわかりません。",
    ),
    "novelty_note": (
        "{percent}% new: farther from its nearest neighbour than {percent}% of the training dishes are from theirs.",
        "新しさ{percent}%とは、いちばん近い料理までの距離が、学習した料理の{percent}%よりも遠いということです。",
    ),
    "distance": ("distance", "距離"),
    "other_model": (
        "This link was made with model {model}. This is model {version}, so the picture may differ.",
        "このリンクはモデル{model}で作られました。今のモデルは{version}なので、絵が違うかもしれません。",
    ),
    "number": ("Plate no.", "皿の番号"),
    "number_title": ("The same number makes the same plate", "同じ番号なら同じ皿になります"),
    "at_random": ("random", "ランダム"),
    "keep_number": ("Use plate {seed} for the next order too", "次の注文もNo. {seed}の皿にする"),
    "kept_number": (
        "Plate {seed} pinned for your next orders. Clear the box for random.",
        "次の注文もNo. {seed}の皿に盛ります。空にするとランダムに戻ります。",
    ),
    "many_names": ("Compare names", "料理名でくらべる"),
    "keys": ("Keyboard shortcuts", "キーボードショートカット"),
    "keys_on": ("Use keyboard shortcuts", "キーボードショートカットを使う"),
    "vary": ("Vary", "変える"),
    "season": ("Season", "味つけ"),
    "more": ("More", "もっと見る"),
    "like_this": ("More like this", "これに似た皿"),
    "family": ("Family tree", "系図"),
    "first": ("first", "はじめ"),
    "back_to": ("Back to no. {number}", "No. {number}に戻る"),
    "variation": ("Variation no. {number}", "似た皿 No. {number}"),
    "other_children": ("Others like this", "ほかの似た皿"),
    "rename": ("Same plate, another name", "皿はそのまま、名前を変える"),
    "rename_note": ("Redraws as you type.", "入力に合わせて描き直します。"),
    "redraw": ("Redraw", "描き直す"),
    "recipe": ("Recipe", "レシピ"),
    "ingredients": ("Ingredients", "材料"),
    "in_the_dish": ("In the dish", "入れたもの、抜いたもの"),
    "more_of": ("More {name}", "{name}を足す"),
    "less_of": ("Less {name}", "{name}を減らす"),
    "none_of": ("Leave {name} as it was", "{name}を元に戻す"),
    "any_word": ("Any word or dish (each gets a slider)", "好きな言葉や料理（スライダーが付きます）"),
    "word_example": ("egg", "卵"),
    "add": ("Add", "足す"),
    "take": ("Take away", "引く"),
    "other_ingredients": ("Other ingredients", "ほかの材料"),
    "why": ("Why does it look like this?", "なぜこう見える？"),
    "why_note": (
        "The model reads the name in these pieces. Switch one off to see what it does.",
        "モデルはこの区切りで読みます。外すと絵の変わり方がわかります。",
    ),
    "piece_off": ("Switch “{piece}” off", "「{piece}」を読まない"),
    "piece_on": ("Switch “{piece}” on", "「{piece}」を読む"),
    "morph": ("Morph into another dish", "別の料理に変身"),
    "morph_group": ("Morph", "変身"),
    "morph_example": ("chocolate cake", "チョコレートケーキ"),
    "morph_go": ("Morph", "変身"),
    "how_far": ("How far the morph has got", "変身の進み具合"),
    "step": ("{percent}% {name}", "{name} {percent}%"),
    "play": ("Play", "変身を再生"),
    "stop": ("Stop", "止める"),
    "save_morph": ("Save as animation", "動く絵で保存"),
    "share_morph": ("Share the animation", "動く絵を共有"),
    "share_again": ("Ready. Tap once more to share.", "準備ができました。もう一度押すと共有できます。"),
    "no_morph": ("Remove morph", "変身をやめる"),
    "to_number": ("plate no. (optional)", "変身先の番号（任意）"),
    "morph_note": (
        "Into another name, another plate, or both.",
        "別の名前へ、別の皿へ、その両方へ。",
    ),
    "elsewhere": ("Into another plate of the same dish", "同じ料理の別の皿へ"),
    "amount_of": ("How much {name}", "{name}の量"),
    "redrawn": ("{name}: redrawn.", "「{name}」描き直しました。"),
    "table": ("Compare names", "料理名でくらべる"),
    "table_names": ("Names, one per line (up to {most})", "料理名（1行に1つ、{most}つまで）"),
    "columns": ("Plates each", "皿数"),
    "first_seed": ("First plate no.", "最初の皿の番号"),
    "lay_table": ("Compare", "並べる"),
    "across": ("Across", "横に並べるもの"),
    "across_plates": ("different plates", "いろいろな皿"),
    "across_amount": ("more and more of…", "だんだん増える材料"),
    "across_morph": ("a morph into…", "だんだん変身"),
    "across_word": ("Ingredient or dish", "材料や料理"),
    "table_note": (
        "Each row is a name. Pick a dish to play with it.",
        "1行に1つの名前です。選ぶとその一皿であそべます。",
    ),
    "save_table": ("Save as one picture", "1枚の絵で保存"),
    # One surprise after the other
    "endless": ("Surprise after surprise", "おまかせを次々と"),
    "next_surprise": ("Next, please", "次の一皿"),
    "last_surprise": ("The one before", "ひとつ前へ"),
    "endless_note": ("Swipe, or press the arrow keys.", "スワイプか矢印キーでもどうぞ。"),
    # What is kept
    "shelf": ("Your own dishes", "あなたの料理"),
    "shelf_note": ("Kept in this browser only.", "このブラウザーにだけ残っています。"),
    "my_menu": ("My menu", "わたしのお品書き"),
    "print": ("Print", "印刷する"),
    "zip": ("Save all (zip)", "まとめて保存（zip）"),
    "latest": ("Menu and file take the latest {count}.", "お品書きと保存は新しい{count}皿です。"),
    "forget": ("Forget all", "すべて消す"),
    "forget_one": ("Forget {name}", "「{name}」を消す"),
    "forget_sure": ("Forget all your dishes?", "あなたの料理をすべて消しますか？"),
    "reopen": ("Open a saved picture", "保存した絵を開く"),
    "reopen_note": (
        "Pictures saved here carry their recipe. Choose one, or drop it anywhere on the page.",
        "ここで保存した絵にはレシピが入っています。選ぶか、ページにドロップしてください。",
    ),
    "reopen_touch": (
        "Pictures saved here carry their recipe.",
        "ここで保存した絵にはレシピが入っています。",
    ),
    "not_ours": (
        "This picture carries no recipe. Other apps may remove it.",
        "この絵にはレシピがありません。ほかのアプリで消えることがあります。",
    ),
    "lost_name": (
        "This is no. {seed}, but of which dish? Its name is missing. Other apps may remove it.",
        "{seed}番の絵ですが、料理の名前が消えています。ほかのアプリで消えることがあります。",
    ),
    "lost_number": (
        "This is {name}, but its number is missing. Other apps may remove it.",
        "「{name}」の絵ですが、番号が消えています。ほかのアプリで消えることがあります。",
    ),
    "reopened_same": (
        "Welcome back. The model still makes exactly the same picture.",
        "おかえりなさい。今のモデルでも寸分違わず同じ絵です。",
    ),
    "reopened_alike": (
        "Welcome back. It is the same picture, but for shades that nobody sees.",
        "おかえりなさい。目に見えない差はありますが、同じ絵です。",
    ),
    "reopened_other": (
        "Welcome back. Your file and what the model makes are not the same picture.",
        "おかえりなさい。お持ちの絵と、今のモデルの絵は同じではありません。",
    ),
    "reopened_unknown": (
        "Welcome back. Whether the model still makes the same picture cannot be told.",
        "おかえりなさい。今のモデルでも同じ絵になるかどうかは、わかりません。",
    ),
    "reopened_unsigned": (
        "Your file doesn’t say which model made it.",
        "お持ちの絵には、どのモデルによるものか書かれていません。",
    ),
    "reopened_model": ("Yours was made by model {model}.", "お持ちの絵はモデル{model}が描きました。"),
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
    "status.429": ("This client has had its share for now.", "この接続元の1分あたりの枚数を超えました。"),
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
    "error.invalid_size": (
        "“size” must be {sketch}, {picture} or {enlarged}.",
        "「size」は{sketch}、{picture}、{enlarged}のどれかです。",
    ),
    "error.invalid_format": ("“format” must be one of {formats}.", "「format」は次のどれかです：{formats}"),
    "error.invalid_path": (
        "“path” is up to {depth} numbers from 1 to {most} with full stops between them, such as 3.1.",
        "「path」は1から{most}までの数を点でつないだものです（{depth}個まで）。例：3.1",
    ),
    "error.invalid_off": (
        "“off” lists word pieces of the name, counted from 0 to {most} here, such as 0,2.",
        "「off」は名前の区切りの番号（ここでは0から{most}）を並べたものです。例：0,2",
    ),
    "error.invalid_mix": (
        "“mix” is weight:name, up to {most} times, with weights from -{weight} to {weight} in hundredths, "
        "such as -0.5:egg.",
        "「mix」は「重み:名前」で{most}個まで。重みは-{weight}から{weight}まで、0.01きざみです。例：-0.5:卵",
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
    "error.invalid_stream": (
        "“stream” must be false: pictures come all at once. POST /generate streams.",
        "「stream」はfalseだけです。絵はまとめて届きます。逐次受け取るにはPOST /generateをお使いください。",
    ),
    "error.invalid_partial_images": ("“partial_images” must be 0.", "「partial_images」は0だけです。"),
    "error.model_not_found": (
        "There is no such model. The one that is here is {version}.",
        "そのモデルはありません。今のモデルは{version}です。",
    ),
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
        "Up to {most} ingredients. Take one out first.",
        "材料は{most}つまでです。どれかを外してください。",
    ),
    "error.no_room": (
        "That is as far as {name} goes.",
        "{name}の量はここまでです。",
    ),
    "error.too_many_names": ("Up to {most} names, please.", "名前は{most}つまでです。"),
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
    "error.head_too_large": (
        "The request’s head is larger than {most} bytes, or has more than {count} headers.",
        "リクエストのヘッダーが{most}バイトまたは{count}個を超えています。",
    ),
    "error.too_many_fields": ("There are more than {most} fields.", "項目が{most}個を超えています。"),
    "error.body_too_large": ("The body is larger than {most} bytes.", "本文が{most}バイトを超えています。"),
    "error.cross_site": (
        "Forms are taken from this site’s own pages only.",
        "フォームはこのサイトのページからのみ送信できます。",
    ),
    "error.queue_full": (
        "The kitchen is full.",
        "ただいま厨房が満杯です。",
    ),
    "error.waited_too_long": (
        "The kitchen was too busy to get round to this. Please order again in a moment.",
        "厨房が混み合い、順番が回ってきませんでした。少ししてから、もう一度ご注文ください。",
    ),
    "error.too_many_pictures": (
        "That was more than {most} pictures in a minute. Take a breath, then come back.",
        "1分間に{most}枚を超えました。少し間をおいてから、またお越しください。",
    ),
    "error.too_slow": (
        "The request did not arrive within {seconds} seconds.",
        "リクエストが{seconds}秒以内に届きませんでした。",
    ),
    "error.closing": (
        "We are just closing. Please try again shortly.",
        "ただいま閉店の支度中です。のちほどどうぞ。",
    ),
    "error.not_ready": (
        "We are just opening. One moment, please.",
        "ただいま開店準備中です。少々お待ちください。",
    ),
    "error.not_found": ("There is no such page.", "お探しのページは見つかりません。"),
    "error.method_not_allowed": (
        "This address takes only {allowed}.",
        "このアドレスで使えるのは{allowed}だけです。",
    ),
    "error.bad_request": ("The request cannot be read.", "リクエストを読み取れません。"),
    "error.failed": (
        "Something went wrong in the kitchen. We have made a note of it; please try again.",
        "厨房で何かが起きました。記録してありますので、もう一度お試しください。",
    ),
    "error.invalid_by": (
        "“by” must be amount or morph, with “word”, an ingredient or a dish.",
        "「by」はamountかmorphで、「word」（材料か料理）も必要です。",
    ),
    # Errors that pages, whose boxes have other names than the API's fields, put in words of their own
    "page.invalid_seed": (
        "The plate number must be a whole number from 0 to {most}.",
        "皿の番号は0から{most}までの整数です。",
    ),
    "page.invalid_mix": (
        "Up to {most} ingredients, each with a weight from -{weight} to {weight}.",
        "材料は{most}つまで、重みは-{weight}から{weight}までです。",
    ),
    "page.invalid_by": ("An amount of what, or a morph into what?", "何の量、何への変身かを書いてください。"),
}

_BY_LANGUAGE = {key: by_language(*words) for key, words in _TEXTS.items()}

# What the scripts of every page, of the order form and of the counter say.
PAGE_TEXTS = ("offline", "not_ours", "lost_name", "lost_number", "retrying", "error.queue_full")
FORM_TEXTS = (
    "title", "alt", "seed", "save_of", "taste_of", "heart_of", "keep_number", "kept_number", "making", "ahead", "done",
    "spoilt", "error.empty_name", "forget_one", "forget_sure", "several_lines", "cut", "copied",
)  # fmt: skip
OMAKASE_TEXTS = ("title", "seed", "making", "done", "spoilt", "copied")
COUNTER_TEXTS = (
    "making", "redrawn", "copied", "reopened_same", "reopened_alike", "reopened_other",
    "reopened_unknown", "reopened_unsigned", "reopened_model", "share_again",
)  # fmt: skip


def text(language: Language, key: str, **values: object) -> str:
    """The text for `key`, with `{placeholders}` filled in if values are given."""
    words = _BY_LANGUAGE[key][language]
    return words.format(**values) if values or key.startswith("error.") else words


def problem(language: Language, code: str, **values: object) -> str:
    """The heading of an error on a page."""
    key = f"page.{code}"
    return text(language, key if key in _TEXTS else f"error.{code}", **values)


def read_as(title: str) -> Notice:
    """The notice about a name with weights in it."""
    return Notice(*(words.format(title=title) for words in _TEXTS["read_as"]))


def notice(language: Language, notice: str) -> str:
    """A notice from `model`, in this language if it has it."""
    return notice.messages[language] if isinstance(notice, Notice) else notice


def of(request: Request) -> Language:
    """The visitor's language: from the link (?lang=), else the cookie, else the browser's preference."""
    # No signature declares ?lang=: an error page has a language too, whatever route or none it belongs to.
    liked = negotiation.language(request.headers.get("accept-language"), list(LANGUAGES))
    for wanted in (request.query_params.get("lang"), _cookie(request), liked):
        for language in LANGUAGES:
            if wanted == language:
                return language
    return DEFAULT


def _cookie(request: Request) -> str | None:
    """Reads our only cookie. Python's own parser, before 3.11.10 and 3.12.6, takes quadratic time for backslashes in
    quotes (CVE-2024-7592)."""
    for header in request.headers.getlist("cookie"):
        if found := re.search(rf"(?:^|; ?){COOKIE}=(\w*)(?:;|$)", header):
            return found[1]
    return None
