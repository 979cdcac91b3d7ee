"""Sentences of the sample corpora, written for the project.

The lists named after emotions lean towards them; the sentences of `open` fit any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

DIALOGUE: dict[str, tuple[str, ...]] = {
    "neutral": (
        "The form is on the second page.", "You take the left door, then the stairs.",
        "The office opens at nine.",
        "My address is on the envelope.", "We moved here about four years ago.", "The line is over there.",
        "I usually take the early bus.", "It is the blue folder on the desk.", "They want two copies of it.",
        "The next flight leaves on Thursday.", "I work in the library downstairs.",
        "You need a photo and a signature.",
        "The kitchen is behind that wall.", "Put your name on this list.", "The bank is next to the station.",
        "Our number is written on the card.",
    ),
    "happiness": (
        "I got the job, I really got it!", "We are getting married in June!", "This is the best day ever!",
        "Oh wonderful, I love this place!", "She said yes, can you imagine?", "I am so glad you came!",
        "We won the whole thing!", "That is fantastic news!", "The baby laughed at me today!",
        "I passed, I am so excited!", "You made me so happy tonight.", "What a lovely surprise party!",
        "Look, it is snowing, how beautiful!", "We had so much fun there!",
        "Congratulations, I am so proud of you!",
        "I finally get to see Paris!",
    ),
    "anger": (
        "Stop lying to me right now!", "Don't you dare walk away!", "I have told you a hundred times!",
        "This is completely unacceptable!", "Get out of my house!", "You had no right to do that!",
        "I am sick of your excuses!", "Give me the manager, now!", "You ruined it, you idiot!",
        "Shut up and listen to me!", "How dare you blame me!", "I hate the way you treat us!",
        "That is a stupid rule!", "You never listen, never!", "They cheated us, it's a disgrace!",
        "Take your hands off my stuff!",
    ),
    "sadness": (
        "I miss him every day.", "She died last winter.", "I can't stop crying.",
        "Nobody came to say goodbye.", "We lost the baby.", "I feel so alone here.",
        "He left, and it is over.", "I am sorry, I failed you.", "It hurts too much.",
        "There is no hope left.", "I wish she was still here.", "The house is empty now.",
        "I don't want to live without him.", "My heart is broken.", "I should have said goodbye.",
        "They buried my old dog.",
    ),
    "open": (
        "I did not expect you here.", "So that is what you think.", "I heard it from your brother.",
        "Are you going to tell her?", "It has been a long time.", "I don't know what to say.",
        "He called me this morning.", "You were there, you saw it.", "Well, now everybody knows.",
        "Is that really what happened?", "I was waiting for two hours.", "You could have called me.",
        "They gave it to somebody else.", "I kept all of the letters.", "Tell me that again.",
        "I was thinking about last summer.", "So you are leaving tomorrow.", "Look at me for a moment.",
        "We used to come here together.", "It is just you and me now.", "I read what you wrote.",
        "You changed your mind again.", "I can't believe it.", "That was my last chance.",
        "She is moving back next month.", "I never thought of it that way.", "Come on, say something.",
        "After all of these years.", "Let me see the picture.", "We are not going to the party.",
        "He was always like that.", "What are we going to do?", "I saw them at the airport.",
        "Do you remember this song?", "It was the only one left.", "You know why I am here.",
        "That is not what I ordered.", "I told my mother about us.", "Give me one more minute.",
        "Everything is different now.",
    ),
}  # fmt: skip
"""For IEMOCAP: short lines of two people in a scene."""

MEETING: dict[str, tuple[str, ...]] = {
    "neutral": (
        "Um the remote has a case and two rubber buttons.", "So the budget for this is twelve euros fifty.",
        "The next item on the agenda is the display.", "We have about forty minutes for the whole meeting.",
        "I put the min- minutes of the last meeting in the folder.",
        "The chip comes from the supplier in Korea.",
        "Uh this one uses a battery and that one uses a cell.",
        "You can find the table on page three of the report.",
        "Most users said they press the channel button and volume.",
        "Then we write the report and send it around.",
        "Okay so the shape follows from the size of the circuit.",
        "The lab measured the range at about nine metres.",
        "There are three options for the cover, wood, rubber and plastic.",
        "Mm we can compare the two prototypes after lunch.",
        "It should switch between television and radio, I think.",
        "The survey was sent to two hundred people.",
        "Right, the scroll wheel costs more than the buttons.", "I will draw the second design on the board.",
    ),
    "happiness": (
        "[laugh] oh I love the little banana shape, it's great!",
        "Yes, that is a brilliant idea, well done everybody!",
        "Wow, the users really loved the prototype, fantastic!",
        "Excellent, we are under budget, I am so pleased!",
        "[laugh] that drawing of your cat is wonderful!", "This is going to be so much fun to build!",
        "Great work, I am really happy with this one!", "Oh lovely, it glows when you clap, that's amazing!",
        "Perfect, we fin- finished early, let's celebrate!", "I am so excited to show it to the client!",
    ),
    "anger": (
        "No, you changed the design again and nobody asked me!",
        "This is ridiculous, we have wasted the whole morning!",
        "Stop interrupting me, I have told you three times now!",
        "That is a stupid price and I am sick of arguing!",
        "Who deleted my slides, that is not acceptable at all!",
        "You never listen, the cover is terrible and you know it!",
    ),
    "sadness": (
        "I am sorry, I lost the file, and I feel awful about it.",
        "It's sad, the old team is gone and it feels empty now.",
        "Well they rejected it, so all of that work was for nothing.",
        "I miss working with Anna, she left us last week.",
        "I don't have much hope for this one anymore, sorry.",
        "My father is in hospital, so I could not do it.",
    ),
    "open": (
        "So that is what the management wants from us now.",
        "I did not expect the client to come back today.",
        "Well, they changed the plan again this morning.", "Have you seen what the other group has done?",
        "We were supposed to have this two weeks ago.", "I thought about what you said after the meeting.",
        "They took out the speech part of the product.", "Okay, let us see what everyone has got.",
        "It is the last time that we meet like this.", "Um you know what they are going to say about it.",
        "So it's just the four of us in here from now on.", "I heard that the boss is coming to see us.",
    ),
}  # fmt: skip
"""For AMI: four people design a remote control."""


class Bank:
    """Draws sentences without repeating one until a list is used up."""

    def __init__(self, sentences: dict[str, tuple[str, ...]], rng: np.random.Generator) -> None:
        self._streams = {name: _endless(lines, rng) for name, lines in sentences.items()}

    def draw(self, emotion: str, telling: bool) -> str:
        """A sentence that leans towards the emotion, or one that fits any."""
        return next(self._streams[emotion if telling else "open"])


def _endless(lines: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    while True:
        for index in rng.permutation(len(lines)):
            yield lines[index]
