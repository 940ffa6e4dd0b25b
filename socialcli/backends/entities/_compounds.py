"""Several words that are read as one: compounds, idioms, nouns before nouns, prepositions.

The longest match wins ("polar bear" before "bear", "hot dog" before "dog").
"""

from __future__ import annotations

from socialcli.backends.entities._lexicon import ANIMAL, COUNTABLE, PERSON, words


def _phrases(text: str) -> dict[str, str]:
    """``"a b:c"`` items, comma-separated, as ``{"a b": "c"}``."""
    return dict(item.strip().split(":", 1) for item in text.split(",") if item.strip())


# Several words that name one thing, and not one that their last word names: a "book shelf" is a
# shelf, and `ATTRIBUTES` does for it. The second part is a one-word stand-in that the parser knows.
COMPOUNDS = _phrases("""
    hot dog:sandwich, corn dog:sandwich, teddy bear:toy, stuffed animal:toy, stuffed bear:toy,
    stuffed toy:toy, fire hydrant:hydrant, stop sign:sign, traffic light:light,
    traffic signal:signal, street light:light, street sign:sign, parking meter:meter,
    cell phone:phone, mobile phone:phone, smart phone:phone, phone booth:booth,
    remote control:remote, video game:video, game controller:controller,
    wine glass:glass, baseball bat:stick, baseball glove:glove, baseball mitt:glove,
    tennis racket:racket, tennis racquet:racket, tennis ball:ball, soccer ball:ball,
    sports ball:ball, golf club:stick, golf ball:ball, hockey stick:stick, potted plant:plant,
    dining table:table, coffee table:table, picnic table:table, pool table:table,
    hair drier:dryer, hair dryer:dryer, blow dryer:dryer, tooth brush:brush, microwave oven:oven,
    toaster oven:oven, ice cream:dessert, ice cream cone:dessert, birthday cake:cake,
    surf board:board, skate board:board, snow board:board, ski pole:pole, ski lift:lift,
    swimming pool:pool, parking lot:plaza, living room:room, dining room:room, air plane:plane,
    hot air balloon:balloon, life jacket:jacket, life vest:vest, barbed wire:wire,
    cutting board:board, chain saw:saw, shopping cart:cart, police car:car, fire truck:truck,
    pickup truck:truck, dump truck:truck, tow truck:truck, train track:track, steering wheel:wheel,
    computer mouse:gadget, toilet paper:paper, high chair:chair, rocking chair:chair,
    jet ski:boat, bean bag:bag, punching bag:bag, sea food:food, bow tie:tie, neck tie:tie,
    merry go round:carousel, polar bear:dog, brown bear:dog, black bear:dog, grizzly bear:dog,
    panda bear:dog, high heel:shoe, watering can:bucket, side walk:road, cross walk:road,
    half pipe:ramp, camp fire:campfire, bon fire:campfire, fire place:fireplace,
    marsh mallow:snack, lap top:laptop, back pack:backpack, suit case:suitcase,
    wheel chair:wheelchair, wheel barrow:wheelbarrow, foot ball:football, base ball:baseball,
    basket ball:basketball, volley ball:volleyball, cup cake:cupcake, pan cake:pancake,
    pine apple:pineapple, motor cycle:motorcycle
""")
# Idioms that would be read as nouns; the stand-in is an adverb.
IDIOMS = _phrases("""
    hand in hand:together, arm in arm:together, side by side:together, face to face:together,
    back to back:together, shoulder to shoulder:together, in mid air:high, in mid-air:high,
    in midair:high, tie dye:colorful, tie dyed:colorful, tie-dye:colorful, tie-dyed:colorful,
    in the air:high, about to:trying to
""")
# Of these the parser's reading is fine, but the last word alone would say the wrong kind.
OBJECT_COMPOUNDS = frozenset(
    [*(c for c in COMPOUNDS if not c.endswith(" bear")), "teddy bear", "stuffed bear",
     "rocking horse", "toy horse", "toy dog", "stuffed dog", "stuffed cat",
     "snow man", "ginger bread man", "sea horse", "carousel horse", "wooden horse", "toy bear",
     "gummy bear", "jelly fish sandwich", "rubber duck", "rubber duckie", "action figure",
     "chocolate bunny", "mechanical bull", "fried chicken", "roast chicken", "roasted chicken",
     "grilled chicken", "fried fish", "grilled fish", "fried shrimp", "computer mouse",
     "wireless mouse", "optical mouse", "piggy bank", "lawn mower", "record player",
     "cd player", "dvd player", "music player", "media player", "mp3 player", "dish washer",
     "toy animal", "plush animal", "fashion model", "model train"]
)  # fmt: skip
ANIMAL_COMPOUNDS = frozenset(
    ["polar bear", "brown bear", "grizzly bear", "black bear", "panda bear", "koala bear",
     "sea lion", "mountain lion", "german shepherd", "guinea pig", "sea gull", "bull dog",
     "prairie dog", "police dog", "police horse", "race horse", "mountain goat", "baby elephant",
     "baby bear", "baby giraffe", "baby zebra", "sea turtle", "water buffalo", "border collie",
     "golden retriever"]
)  # fmt: skip
PERSON_COMPOUNDS = frozenset(
    ["police officer", "fire fighter", "flight attendant", "business man", "business woman",
     "santa claus", "security guard", "construction worker", "little one", "lion tamer",
     "horse rider", "old folk", "football fan"]
)  # fmt: skip
# Compounds that keep the head's own lemma ("a soccer ball" is a ball, "a birthday cake" a cake).
PLAIN_HEADED = words("cake ball car truck wire mouse track can")

# Nouns that stand before another noun and say of which sort it is: "wedding cake", "dirt bike". The
# parser is shown the second noun only.
ATTRIBUTES = words("""
    wedding birthday christmas chocolate fruit apple orange lemon banana strawberry tomato potato
    corn hay straw grass dirt sand snow ice mountain road street city town country park beach lake
    river ocean sea pool farm garden yard kitchen bathroom bedroom office school hospital hotel
    airport train subway bus truck car taxi police fire army military race racing motor bike bicycle
    boat ship plane jet golf tennis baseball basketball football soccer hockey volleyball cricket
    rugby softball ski surf snowboard skateboard skate swim swimming boxing fishing hunting camping
    diving hiking sewing washing frying baking cooking vending moving running sleeping
    coffee tea beer wine champagne whiskey water milk juice soda soup salad pizza sandwich burger
    hotdog cheese meat chicken fish steak egg bread butter sugar salt pepper dinner lunch breakfast
    dessert ice-cream candy cake cookie popcorn rice pasta noodle
    tree palm pine oak flower rose leaf wood log brick stone rock marble metal steel iron glass
    plastic rubber paper cardboard leather wool cotton silk denim straw bamboo concrete
    computer laptop phone tv television video radio music picture photo film movie camera cell
    newspaper magazine comic book note text art paint
    tool trash garbage recycling laundry shopping grocery gift toy doll puppet lego
    clothes shoe hair face head hand foot knee neck wrist ear eye tooth bath shower toilet bed
    picnic barbecue camp tent fence door window wall floor ceiling roof garage barn stable church
    horse dog cat bird cow sheep goat pet animal zoo circus
    baby boy girl women men mens womens child
    traffic street power fuel gas oil air hot-air wind sun rain winter summer night
    cutting parking waiting living dining conference meeting class exam stage rock dance piano
    guitar drum sports sport game playground safety security construction credit gym exercise yoga
    business bow neck polka polo cowboy baseball evening
    garment sleeping duffel duffle hand tote messenger punching bean
    home corner tool knee elbow shin swing lawn snow leaf hedge pizza toaster microwave
    beauty barber coffee book pet hardware department convenience toll phone ticket
    snow-covered microphone music mic steering
    front back rear side top bottom covered filled lined shaped
""")
# What may follow them. People and animals do only after sports and trades: "a tennis player".
HEADS = (
    (COUNTABLE - PERSON - ANIMAL)
    | words("""
    juice chip sauce pie bread roll cream stand rack shelf case cabinet drawer cupboard counter
    machine dryer washer dishwasher cooker track trail path course field park shop store house
    building tower center centre lot space stop lane crossing sign light lamp post pole line wire
    monitor mouse screen case charger cord cable headset player console stick ring band belt buckle
    strap tag chain collar harness saddle vehicle trailer van wagon cab limousine rig cone jar can
    tin bin dispenser holder opener peeler press pad board mat rug carpet curtain blind sheet cover
    robe cloth clothes gear equipment bag pack sack set box crate carton card book page photo
    poster album frame print leaf branch trunk stump bark trunk petal branch bale stack pile
    wheel seat pedal tank pump nozzle hose engine brake handle knob lid top tower slide swing set
    counter mound plate base court rink arena track pitch green club tee pin net goal post
    suit dress gown ring cake candle present party decoration tree ornament stocking
    table chair desk bench stool sofa couch bed crib room hall yard area lounge lobby
    cart basket trolley line queue gate booth meter tower bridge tunnel platform ticket
    counter rail railing wall floor ceiling roof tile door window frame glass pane cup mug pot bowl
    bottle plate dish tray pan saucer pitcher jug bar stall market stand truck car station
    boat ship ferry yacht raft paddle oar rod reel line hook bait net gun rifle helmet glove pad
    shoe boot sandal cap hat visor shirt jersey uniform short shorts jeans pants trunks goggles
    mask snorkel fin wing tail balloon kite plane jet glider brush paste comb clip tie
    scooter bike cycle motorbike jacket coat instrument system model figure bear
    soup salad sandwich burger dog pizza slice steak egg wrapper bun crust
    ski skate lift slope cannon mower blower trimmer plow shovel rake hoe pick saw blade
    bucket barrow barrel drum kit stand amp amplifier speaker
""")
) - words("dog bear goal pack press clip pick swing figure model")
HEADS_IN_PLURAL = words(
    "fries knives shelves scarves loaves leaves clothes shorts jeans pants trunks"
)
_TRADES = words("""
    baseball basketball football soccer hockey tennis golf volleyball cricket rugby softball polo
    ski surf police fire army race taxi bus truck train construction security circus street
    rock dance piano guitar wedding party school farm zoo
""")
_TRADED = words("""
    player coach fan umpire referee catcher pitcher team officer driver conductor worker guard
    performer musician singer dancer guest boy girl kid child student teacher animal vendor
    racer car instructor keeper fighter star
""")


def is_attributed(before: list[str], head: str, singular: str) -> bool:
    """Whether the words before a noun only say of which sort it is."""
    known = head in HEADS or singular in HEADS or head in HEADS_IN_PLURAL
    traded = len(before) == 1 and (head in _TRADED or singular in _TRADED)
    if not known and not traded:
        return False
    if head not in HEADS and any(word in PERSON or word in ANIMAL for word in before):
        return False  # "a cowboy ropes a calf"
    if known and all(word in ATTRIBUTES for word in before):
        return True
    return traded and before[0] in _TRADES


# Several words that are one preposition, and the word that the parser reads in their place
# ("near" where none is given). So what is joined after them stays joined: "in front of a flag and
# a model rocket".
PREPOSITIONS = _phrases("""
    on top of:on, on back of:on, out of:from, off of:from, in between:between, inside of:inside,
    outside of:outside, because of:despite, due to:despite, instead of:without, next to:near,
    in middle of:in, in center of:in, in centre of:in, in midst of:in, in back of:behind,
    on board of:on, ahead of:near, along with:with, together with:with, such as:like,
    on edge of:on, at top of:on, on end of:on, in corner of:in, away from:from, close to:near,
    adjacent to:near, opposite to:near, apart from:except, rather than:without
""")
_BEFORE_SIDES = ("in", "on", "at", "to")
_FIRST_OF_PREPOSITIONS = frozenset([*(p.split()[0] for p in PREPOSITIONS), *_BEFORE_SIDES])
_SIDES = words("""
    front top back bottom middle center centre midst side edge end corner left right rear foot
""")


def preposition(phrase: str) -> str:
    """ "on top of" for "on the top of", and so on; empty where it is none."""
    if phrase.partition(" ")[0] not in _FIRST_OF_PREPOSITIONS:
        return ""
    name = phrase.replace(" the ", " ").replace(" hand side ", " side ")
    if name in PREPOSITIONS:
        return name
    before, _, rest = name.partition(" ")
    side, _, last = rest.partition(" ")
    plain = before in _BEFORE_SIDES and last in ("of", "side of") and side in _SIDES
    return name if plain else ""
