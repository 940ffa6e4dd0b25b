"""Word lists for captions: who is a person, what is an animal, which nouns name nothing visible.

Lemmas in lower case. Made for this project from COCO's and HICO-DET's class names and from what
people write in captions. What is named by several words is in `_compounds`.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """A list of words as one may write it down."""
    return frozenset(text.split())


def _counts(count: int, text: str) -> dict[str, int]:
    return dict.fromkeys(text.split(), count)


PERSON = words("""
    person people man woman boy girl child kid baby infant newborn toddler teen teenager adult
    youth youngster guy gal lady gentleman gent dude lad lass fellow folk human someone somebody
    male female senior elder mother mom mum mommy father dad daddy parent grandmother grandma
    grandfather grandpa grandparent son daughter brother sister sibling twin cousin uncle aunt
    nephew niece husband wife spouse bride groom bridesmaid groomsman boyfriend girlfriend friend
    buddy pal neighbor neighbour couple family crowd audience mob team group duo trio quartet
    crew staff squad band choir orchestra troop class passerby pedestrian bystander onlooker
    spectator fan visitor guest tourist traveler traveller passenger commuter customer shopper
    buyer client patron diner host hostess resident local villager citizen stranger worker
    laborer labourer employee colleague coworker boss manager businessman businesswoman executive
    professional chef cook baker butcher waiter waitress server bartender barista cashier clerk
    vendor seller merchant salesman saleswoman shopkeeper farmer gardener fisherman hunter
    shepherd herder rancher cowboy cowgirl jockey builder carpenter plumber electrician mechanic
    engineer technician welder painter repairman handyman janitor cleaner maid housekeeper nanny
    babysitter doctor physician surgeon nurse dentist vet veterinarian paramedic patient
    scientist researcher teacher professor instructor coach trainer tutor student pupil
    schoolboy schoolgirl graduate classmate schoolchild preschooler firefighter fireman policeman
    policewoman police cop officer guard soldier marine sailor captain pilot astronaut
    stewardess steward conductor driver chauffeur cyclist bicyclist biker motorcyclist rider
    equestrian horseman horsewoman skater skateboarder snowboarder skier surfer windsurfer
    kitesurfer paddler rower kayaker canoeist swimmer diver snorkeler bather sunbather climber
    hiker backpacker camper runner jogger sprinter walker racer athlete player teammate opponent
    pitcher catcher batter hitter umpire referee goalie goalkeeper quarterback linebacker
    outfielder infielder shortstop baseman fielder golfer bowler boxer wrestler fighter fencer
    gymnast acrobat cheerleader dancer ballerina performer entertainer juggler clown magician
    mime musician singer guitarist drummer pianist violinist cellist trumpeter saxophonist
    bassist dj rapper actor actress model artist sculptor photographer cameraman videographer
    filmmaker director reporter journalist announcer presenter speaker lecturer author writer
    reader poet politician president senator mayor minister king queen prince princess knight
    priest monk nun bishop pope rabbi preacher pastor lawyer judge suspect prisoner thief robber
    beggar hipster hippie punk veteran volunteer scout member leader owner partner participant
    competitor contestant winner champion celebrity hero santa pirate worshiper protester
    demonstrator marcher barber hairdresser stylist tailor seamstress potter weaver blacksmith
    miner lumberjack deliveryman mailman postman courier bellhop doorman lifeguard ranger
    skydiver paraglider parasailer trader banker accountant secretary receptionist librarian
    programmer developer designer pharmacist optician therapist masseuse masseur caregiver
    operator handler groomer trekker mountaineer skipper boater angler archer shooter
    batsman wakeboarder longboarder rollerblader unicyclist toreador
    matador bullfighter torero gondolier peddler hawker busker attendant inspector companion
    lover newlywed preteen tween elderly
""")

ANIMAL = words("""
    animal dog puppy pup cat kitten kitty horse pony foal colt mare stallion donkey mule cow calf
    bull ox cattle steer heifer bison buffalo sheep lamb ram ewe goat pig piglet hog boar
    elephant bear cub panda koala giraffe zebra lion lioness tiger leopard cheetah jaguar panther
    cougar lynx bobcat wolf fox coyote jackal hyena deer fawn doe elk moose reindeer caribou
    antelope gazelle impala wildebeest rhino rhinoceros hippo hippopotamus camel llama alpaca
    monkey ape gorilla chimpanzee chimp orangutan baboon lemur sloth kangaroo wallaby wombat
    rabbit bunny hare squirrel chipmunk rat hamster gerbil hedgehog porcupine skunk
    raccoon opossum badger otter beaver weasel ferret mink mongoose meerkat anteater armadillo
    seal walrus whale dolphin porpoise orca shark fish goldfish trout salmon tuna carp koi eel
    stingray octopus squid crab lobster shrimp jellyfish starfish turtle tortoise frog toad lizard
    gecko iguana chameleon snake python cobra crocodile alligator bird pigeon dove crow raven
    sparrow robin finch cardinal parrot parakeet cockatiel cockatoo macaw canary owl eagle hawk
    falcon vulture seagull gull pelican stork heron egret flamingo swan goose gosling
    duck duckling chicken hen rooster chick turkey peacock ostrich emu penguin woodpecker
    hummingbird kingfisher swallow insect bee wasp hornet butterfly moth fly ant spider beetle
    ladybug dragonfly grasshopper mosquito caterpillar worm snail slug herd flock livestock pet
    poodle terrier bulldog beagle retriever labrador dachshund chihuahua pug husky collie
    dalmatian corgi hound greyhound mutt spaniel rottweiler schnauzer doberman pitbull
    sheepdog tabby critter creature dinosaur
""")

# Nouns of measure: in "a slice of pizza" the thing is the pizza. The number is how many of the
# thing a singular measure stands for; 0 several, 1 where it stays one.
MEASURES: dict[str, int] = {
    **_counts(
        0,
        "group bunch crowd herd flock pack team gang swarm cluster collection row line stack pile "
        "set number lot variety assortment array bouquet series dozens handful plenty ton tons "
        "lots school litter class troop bundle batch selection party crew mob majority mix "
        "mixture heap hundreds thousands gathering parade convoy fleet squad range host",
    ),
    **_counts(
        1,
        "slice piece portion chunk bit sort kind type style game loaf scoop "
        "section part half rest strip stretch",
    ),
    "pair": 2, "couple": 2, "duo": 2, "trio": 3, "quartet": 4, "dozen": 12,
}  # fmt: skip
# A collective alone is several people: "a crowd watches".
COLLECTIVE = {
    **_counts(
        0,
        "people crowd audience group team band family class mob police staff crew squad "
        "choir orchestra troop cattle herd flock livestock",
    ),
    "couple": 2, "duo": 2, "trio": 3, "quartet": 4,
}  # fmt: skip
# Plural in form, one thing in fact.
ONE_IN_PLURAL = words("""
    scissors glasses sunglasses eyeglasses jeans pants trousers shorts tights leggings overalls
    pajamas pyjamas binoculars goggles headphones tweezers pliers tongs shears slacks briefs
    underpants clothes stairs
""")

NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
    "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20,
    "a": 1, "an": 1, "both": 2, "dozen": 12, "hundred": 100, "single": 1, "another": 1,
}  # fmt: skip
SEVERAL = words("""
    several many some few multiple various numerous countless dozens hundreds lots different
    assorted
""")

# Nouns that name no thing one could draw a box around.
ABSTRACT = words("""
    front side top bottom back background foreground middle center centre edge end corner distance
    left right inside outside rear beginning tip way direction position place spot area
    location scene view angle perspective shot close-up closeup closeness style
    color colour shape size pattern design type kind sort variety form time day night
    morning afternoon evening dusk dawn midday noon daytime nighttime moment minute hour second
    year season summer winter autumn spring weather air midair mid-air action activity
    motion movement act pose gesture trick stunt jump flip dive turn walk run ride trip journey
    tour travel event occasion celebration competition contest race match game tournament practice
    performance concert show lesson session meeting conversation discussion talk chat speech
    interview fun love joy happiness sadness anger surprise fear excitement pride care attention
    help support use work job task business life death age number amount lot bit part piece
    half rest order line-up preparation process progress addition case fact idea thought mind
    memory reason example sense look mood feeling emotion something nothing anything
    everything thing stuff one other others another each none all both sport sports
    tennis soccer golf hockey skiing snowboarding surfing skateboarding swimming cricket rugby
    volleyball badminton polo karate judo yoga chess poker lacrosse gymnastics hopscotch catch
    wind speed height length width depth weight balance control command sunlight daylight shade
    darkness silence noise sound music song dance dancing tune voice advice information news
    selfie pic midst photography vacation holiday christmas halloween birthday wedding
    break lunchtime dinnertime bedtime playtime black white
    profile bite sip nap sleep stroll hike
    duty service sale display demonstration mid tow flight takeoff
    training warmup workout exercise interaction question answer caption closeup
""")
# Ways of saying "this is a picture": dropped where they frame the caption or are what is taken.
DEPICTIONS = words("""
    photo photograph picture image snapshot shot close-up closeup view scene portrait painting
    drawing illustration sketch cartoon silhouette selfie video
""")
# Balls that are also games: a game after "play" unless an article makes it a thing.
GAMES = words("baseball basketball football frisbee softball handball bowling pool")
# Ends in -ing like a verbal noun, and is a thing all the same.
ING_THINGS = words("""
    building clothing painting railing ceiling ring string king earring awning drawing stocking
    icing pudding wing sling swing paving lightning dressing topping stuffing frosting filling
    duckling siding fencing crossing landing dumpling sibling ping-pong lining covering spring
    being carving wiring bedding padding seasoning seedling herring
    dwelling offering serving
""")
MALE = words("""
    man boy guy gentleman father dad son brother husband groom boyfriend uncle grandfather grandpa
    king prince lad fellow dude cowboy fireman policeman businessman fisherman male waiter
    fisherman batsman monk priest
""")
FEMALE = words("""
    woman girl lady mother mom mum daughter sister wife bride girlfriend aunt grandmother grandma
    queen princess lass gal cowgirl policewoman businesswoman female waitress actress nun
    ballerina bridesmaid maid
""")

# Countable things that captions name without an article ("person riding skateboard"). Words that
# are verbs as often as nouns stay out: `_mending` puts an "a" before every word in here.
COUNTABLE = words("""
    bicycle bike car motorcycle motorbike airplane aeroplane plane jet bus train truck boat ship
    canoe kayak sailboat scooter skateboard snowboard surfboard frisbee kite umbrella backpack
    handbag purse tie suitcase bag briefcase bottle cup mug glass fork knife spoon bowl plate
    banana apple sandwich orange carrot pizza donut doughnut cake burger hamburger cookie
    chair couch sofa bench bed table desk toilet sink bathtub shower laptop computer keyboard
    phone telephone cellphone smartphone television tv camera remote oven toaster refrigerator
    fridge microwave vase clock toothbrush hairdryer racket racquet bat ball basketball
    football baseball stick pole rope leash helmet hat cap shirt t-shirt jacket coat dress suit
    skirt sweater scarf glove mitten boot sneaker shoe sandal sock apron uniform vest bikini
    wetsuit swimsuit costume mask bracelet necklace crown tractor wagon carriage cart stroller
    wheelchair sled ladder bucket basket box tray pan pot candle lamp lantern balloon flag guitar
    piano violin trumpet drum microphone newspaper magazine notebook letter pencil pen crayon
    hammer shovel broom mop chainsaw axe sword gun rifle tent blanket pillow towel
    teapot kettle blender hydrant fence gate door window wall roof stage podium tree bush flower
    rose river lake pond ocean beach street road sidewalk bridge hill mountain field forest
    garden kitchen bathroom bedroom room office shop store restaurant cafe market station airport
    church stadium court pool yard porch balcony hallway stairway cage barn stall rain
    ramp rail wave slope trail track runway dock pier ledge stump log rock puddle
    wrench screwdriver drill saw tire wheel engine hose stove grill cigarette
    controller joystick paddle oar net goal puck sandwich salad burrito taco hotdog
    telescope microscope crane forklift bulldozer parachute raft trampoline hammock
    statue fountain ornament wreath trophy medal cross
""") | (
    PERSON
    - words("""
    people police someone somebody cook model coach guard host train staff class fan patient
    pilot judge minister group team band crew cattle elder figure male female local server
    twin veteran champion scout human professional adult senior elderly
    choir orchestra folk shepherd marine partner fellow groom lover
""")
) | (
    ANIMAL
    - words("""
    fish sheep cattle deer fly swallow duck crane bear seal python steer ram bat squid shrimp
    livestock cardinal chicken turkey salmon tuna trout buffalo bison moose elk pet hound hawk
    badger ferret worm herd flock creature swift
""")
)  # fmt: skip
# Verbs and nouns alike; an article is put before them only right after "-ing" or a preposition.
COUNTABLE_AFTER = words("""
    bear bat book watch dress suit park bat duck seal train chicken pet model drink iron
    turkey ship dish
""")

# What people and animals do in captions. The parser takes several of these for nouns; see
# `_mending`. Words that name a thing more often than a deed in captions stay out.
VERBS = words("""
    ride hold eat sit stand walk run jump throw catch kick hit swing play carry wear drive chase
    feed pet hug kiss wash cut slice cook read write pour open close push pull lift drag hop skate
    surf dive swim row lie lay sleep lean bend kneel squat crouch climb point smile laugh cry
    talk speak sing dance watch look stare gaze inspect repair load direct shake pick peel stir
    smell lick sniff chew graze peer hang dangle glide wrestle fight shoot aim serve give hand
    offer pass take bring put move flip roll bounce dribble tackle buy sell install dig pose greet
    shave stroll march jog hike clean wipe sweep toss leap reach approach cross enter perform
    prepare help teach wait rest relax drink eat enjoy share examine operate bathe scratch
    groom herd milk straddle launch celebrate drink crawl
    spray rope mow tie hide fix mix unload knit smoke fold hold wrap stack mop rake vacuum dry
    photograph film record chop grate whisk blow sip swallow guide greet lasso hurl
    chat cuddle nuzzle pour paddle steer type paint hammer drill sew
""")
VERB_FORMS: dict[str, str] = {}  # "rides" -> "riding", "ride" -> "riding"
_DOUBLED = words("""
    sit run hit swim cut pet hug dig stir put flip jog hop step grab rub drag chop mop wrap knit
    chat sip
""")
for _verb in VERBS:
    if _verb.endswith("ie"):
        _ing = _verb[:-2] + "ying"
    elif _verb.endswith("e") and not _verb.endswith("ee"):
        _ing = _verb[:-1] + "ing"
    else:
        _ing = _verb + (_verb[-1] if _verb in _DOUBLED else "") + "ing"
    _third = _verb + ("es" if _verb.endswith(("s", "x", "ch", "sh")) else "s")
    if _verb.endswith("y") and _verb[-2] not in "aeiou":
        _third = _verb[:-1] + "ies"
    VERB_FORMS[_verb] = VERB_FORMS[_third] = _ing
GERUNDS = frozenset(VERB_FORMS.values())
# What the lemmatiser of the small model makes of some participles.
LEMMAS = {"rid": "ride", "star": "stare", "instal": "install"}

CLOTHING = words("""
    shirt t-shirt jacket coat dress suit skirt sweater sweatshirt hoodie vest uniform outfit
    costume hat cap helmet scarf tie apron robe gown kimono bikini swimsuit wetsuit shorts jeans
    pants trousers glasses sunglasses goggles boots shoes sneakers sandals gloves mask blouse top
    raincoat jersey attire clothing clothes gear red black white blue pink yellow green orange
    purple brown gray grey tuxedo sari turban veil wig pajamas overalls tights
""")
# "a woman in blue": what she wears, and no thing of its own.
COLOURS = words("red orange yellow green blue purple pink brown black white gray grey gold beige")
# What other things stand on, and the verbs that put something there.
STANDS = words("tripod stand easel pedestal mount plinth monopod")
PLACING = words("put place set lay mount display install stand rest lean sit")
# Verbs with somebody who gets it.
GIVING = words("""
    give pass hand offer sell serve show bring feed throw toss deliver present lend read send teach
    distribute award
""")
# Where things happen; and what is held to do something.
PLACES = words("""
    park field street road beach ocean sea lake river pond pool water yard garden forest wood
    kitchen bathroom bedroom room office shop store restaurant market station airport church
    stadium court sidewalk bridge hill mountain slope snow sand grass track trail path plaza
    pasture meadow desert city town village alley driveway playground arena rink pier dock shore
    harbor harbour gym classroom hallway barn backyard lawn rain skateboard surfboard snowboard
    runway highway zoo farm ring hillside countryside living-room
""")
TOOLS = words("""
    fork knife spoon chopstick wrench hammer screwdriver drill saw axe shovel brush broom mop
    towel hose rope racket bat stick paddle oar pen pencil hand foot leash camera phone scissors
    spatula ladle remote whip lasso net
""")
